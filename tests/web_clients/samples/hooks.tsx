// The React hooks, typed.

import { Switchboard } from "switchboard-client";
import { SwitchboardProvider, useCall, useMessages, usePresence, useRoom, useTyping } from "switchboard-react";

interface Chat {
  message: string;
}

export function Room({ id, stream }: { id: string; stream: MediaStream | null }) {
  const room = useRoom<Chat>(id, { displayName: "Ann" });
  const { messages, publish } = useMessages(room, { limit: 20 });
  const { names, typing } = useTyping(room);
  const people = usePresence(room);
  const { peers } = useCall(room, { stream });
  // @ts-expect-error: the content is a text
  const wrong = () => publish(12);
  return (
    <main onKeyDown={() => typing()} onClick={() => publish("Hello")} onDoubleClick={wrong}>
      {messages.map((message) => <p key={message.id}>{message.data.toUpperCase()}</p>)}
      {names.join()} {people.map((person) => person.displayName)} {peers.map((peer) => peer.state)}
    </main>
  );
}

export const App = ({ client }: { client: Switchboard }) => (
  <SwitchboardProvider client={client}>
    <Room id="tea" stream={null} />
  </SwitchboardProvider>
);
