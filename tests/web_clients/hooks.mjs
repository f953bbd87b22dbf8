// The React hooks in a page of jsdom, under StrictMode, against a server: what components show is what happens in the room.

import assert from "node:assert/strict";
import { JSDOM } from "jsdom";
import WebSocket from "ws";

const [, , library, url] = process.argv;
const dom = new JSDOM("<!doctype html><main></main>", { url: "http://page.test/" });
globalThis.window = dom.window;
globalThis.document = dom.window.document;
globalThis.navigator ??= dom.window.navigator;
const { StrictMode, createElement } = await import("react");
const { createRoot } = await import("react-dom/client");
const { Switchboard } = await import(library);
const { SwitchboardProvider, useMessages, usePresence, useRoom, useTyping } = await import("./switchboard-react.mjs");

const make = () => new Switchboard(url, { WebSocket, storage: null });
const until = async (what, condition) => {
  for (let round = 0; round < 1_000 && !condition(); round++) await new Promise((done) => setTimeout(done, 20));
  assert.ok(condition(), `${what}: ${document.body.innerHTML}`);
};
const shown = () => document.body.textContent;

let say = null;
let type = null;
function Chat() {
  const room = useRoom("tea", { displayName: "Ann" });
  const { messages, publish } = useMessages(room);
  const { names, typing } = useTyping(room);
  const people = usePresence(room);
  say = publish;
  type = typing;
  return createElement("section", {},
    messages.map((message) => createElement("p", { key: message.id }, `${message.data}${message.isPending ? "…" : ""};`)),
    createElement("i", {}, `typing: ${names.join()};`),
    createElement("b", {}, `people: ${people.map((person) => `${person.displayName} ${person.status}`).join()};`));
}

const other = make();
const room = other.join("tea", { displayName: "Bob" });
await room.joined;
await room.publish("stored");
const client = make();
client.when("error", (error) => console.error(error));
const root = createRoot(document.querySelector("main"));
root.render(createElement(StrictMode, {}, createElement(SwitchboardProvider, { client }, createElement(Chat))));
await until("what is stored", () => shown().includes("stored;"));
await until("who is there", () => shown().includes("people: Bob online;"));
const heard = [];
room.on("message", (text) => heard.push(text));
await room.publish("live");
await until("what comes", () => shown().includes("stored;live;"));
await say("mine");
await until("one's own", () => shown().includes("stored;live;mine;"));
await until("the other hears it", () => heard.join() === "mine");
room.typing();
await until("who types", () => shown().includes("typing: Bob;"));
room.typing(false);
await until("who types no more", () => shown().includes("typing: ;"));
type();
await until("the other sees it", () => [...room.typists.values()].join() === "Ann");
other.presence("away");
await until("a status", () => shown().includes("people: Bob away;"));
client.drop();
await room.publish("missed");
await until("what was missed", () => shown().includes("mine;missed;"));
assert.equal(room.members.size, 1);
root.unmount();
await until("the room is left", () => room.members.size === 0);
console.log("done");
process.exit();
