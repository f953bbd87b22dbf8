// A typed sample: it compiles with --strict, and each line after @ts-expect-error does not.

import { Switchboard, SwitchboardError, type Message, type Room, type Sent } from "switchboard-client";

interface Order {
  total: number;
}

interface Shop {
  message: string;
  order: Order;
}

import StreamSocket from "switchboard-client/fallback";

const alwaysStreams = new Switchboard("https://chat.example", { WebSocket: StreamSocket, fallback: null });
alwaysStreams.close();
const client = new Switchboard("https://chat.example", {
  fallback: () => import("switchboard-client/fallback"),
  token: async () => (await fetch("/token")).text(),
  queueMax: 100,
});
client.when("state", ({ state, retryInMs }) => console.log(state, retryInMs));
client.when("message", (message: Message) => console.log(message.sender));
client.when("error", (error) => error instanceof SwitchboardError && console.log(error.code));

const room: Room<Shop> = client.join<Shop>("shop", { displayName: "Ann" });
const off: () => void = room.on("order", (order, message) => console.log(order.total.toFixed(2), message.seq));
room.on("message", (text) => text.toUpperCase());
off();

export async function main(): Promise<void> {
  await room.joined;
  const sent: Sent = await room.publish("order", { total: 12 }, { metadata: { source: "web" } });
  await room.publish("Hello");
  for await (const message of room.history({ after: 0, limit: 10 })) console.log(message.id, sent.seq);
  const { read } = await room.receipts(sent.id);
  console.log(read.map(({ userId }) => userId), [...room.members.values()].map((member) => member.displayName));
  // Without types, any event has any data.
  const open = client.join("lobby");
  open.on("anything", (data) => console.log(data.deep.field));
  await open.publish("anything", { deep: { field: 1 } });

  // @ts-expect-error: no event has this name
  room.on("refund", () => {});
  // @ts-expect-error: the data is of another type
  await room.publish("order", { total: "12" });
  // @ts-expect-error: the content is a text
  await room.publish(12);
  // @ts-expect-error: no status has this name
  client.presence("asleep");
  // @ts-expect-error: a token is a text
  new Switchboard("/ws", { token: 12 });
}
