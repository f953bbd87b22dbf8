// Evaluates the lines of its input with a meeting in scope, in Node or Deno, and writes each value as a line.

import { createInterface } from "node:readline";
import process from "node:process";
import { Meeting } from "./meeting.mjs";

const [, , library, url, secret] = process.argv;
const { Switchboard } = await import(library);
// A network that lets no WebSocket pass.
class Blocked {
  readyState = 0;

  constructor() {
    setTimeout(() => {
      this.readyState = 3;
      this.onclose?.({ code: 1006, reason: "" });
    });
  }

  close() {}
}
const fallback = process.env.BLOCKED;
const options = fallback ? { WebSocket: Blocked, fallback: () => import(fallback) }
  : globalThis.WebSocket ? {} : { WebSocket: (await import("ws")).default };
globalThis.meeting = new Meeting(Switchboard, url, secret, options);
for await (const line of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify((await (0, eval)(line)) ?? null));
}
process.exit();
