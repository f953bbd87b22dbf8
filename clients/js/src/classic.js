// The classic script: `Switchboard` becomes a global name.

import { Switchboard, SwitchboardError } from "./switchboard.js";

Switchboard.Error = SwitchboardError;
globalThis.Switchboard = Switchboard;
