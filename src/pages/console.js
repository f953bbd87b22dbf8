// The console: one connection in any dialect, or calls of REST, with forms for what can be asked and all frames in both
// directions. The forms come from the OpenAPI document and from the tables of operations.js.

import { $, Chart, bytes, copied, element, locale, milliseconds, texts } from "./page.js";
import { OPERATIONS } from "./operations.js";
import { Switchboard } from "/switchboard.mjs";

// Each text in English and German.
const TEXTS = {
  title: ["Switchboard console", "Switchboard-Konsole"],
  language: ["Language", "Sprache"],
  connection: ["Connection", "Verbindung"],
  dialect: ["Dialect", "Dialekt"],
  token: ["Token, or none as a guest", "Token; ohne als Gast"],
  connect: ["Connect", "Verbinden"],
  disconnect: ["Disconnect", "Trennen"],
  drop: ["Drop my connection", "Verbindung abreißen lassen"],
  makeToken: ["Make a token", "Token erzeugen"],
  user: ["User", "Nutzer"],
  role: ["Role", "Rolle"],
  noRole: ["none", "keine"],
  make: ["Make and use it", "Erzeugen und verwenden"],
  devOnly: ["Works on a server with --dev only.", "Geht nur bei einem Server mit --dev."],
  request: ["Request", "Anfrage"],
  operation: ["Operation", "Operation"],
  send: ["Send", "Senden"],
  copyAs: ["As", "Als"],
  copy: ["Copy", "Kopieren"],
  share: ["Copy link", "Link kopieren"],
  latency: ["Latency", "Latenz"],
  answers: ["Time to answer", "Zeit bis zur Antwort"],
  frames: ["Frames", "Frames"],
  filter: ["Filter", "Filter"],
  pause: ["Pause", "Anhalten"],
  resume: ["Continue", "Fortsetzen"],
  clear: ["Clear", "Leeren"],
  rawFrame: ["The frame as JSON", "Der Frame als JSON"],
  payload: ["The payload as JSON", "Die Nutzdaten als JSON"],
  body: ["Body as JSON", "Rumpf als JSON"],
  offline: ["Not connected", "Nicht verbunden"],
  connecting: ["Connecting", "Verbindet"],
  online: ["Connected", "Verbunden"],
  waiting: ["Lost, comes back", "Unterbrochen, kommt wieder"],
  ended: ["Ended", "Beendet"],
  ready: ["Ready", "Bereit"],
  done: ["Copied", "Kopiert"],
  notJson: ["This is not JSON:", "Das ist kein JSON:"],
  needsConnection: ["Connect first", "Zuerst verbinden"],
  resumed: ["Recovered: nothing was missed", "Wiederhergestellt: nichts wurde verpasst"],
  fresh: ["Connected, without anything to recover", "Verbunden, ohne etwas wiederherzustellen"],
  lost: ["The connection is lost", "Die Verbindung ist abgerissen"],
  notFor: ["There is no such form of this request.", "Diese Form gibt es für diese Anfrage nicht."],
};

const FRAMES_MAX = 500;
const ACK_MS = 10_000;
// Fields that are no texts.
const JSON_FIELDS = "offer answer candidate mediaState attachment metadata data rooms messageIds".split(" ");
const NUMBER_FIELDS = "after limit upTo sfu rewind".split(" ");
const WORDS = "or and one target as a text any value none admins only without monitoring open".split(" ");

let token = sessionStorage.getItem("console-token") ?? "";
let link = null;
let frames = [];
let isPaused = false;
let isDue = false;
let rest = [];
const latency = new Chart("answers", (value) => milliseconds(value));

// Frames.

function note(direction, data, more = {}) {
  const shown = typeof data === "string" ? data : `[${data.byteLength ?? data.size ?? 0} B]`;
  const size = new TextEncoder().encode(shown).length;
  frames.push({ at: new Date(), direction, text: shown, size, ...more });
  frames.splice(0, Math.max(0, frames.length - FRAMES_MAX));
  show();
}

function show() {
  if (isDue || isPaused) return;
  isDue = true;
  requestAnimationFrame(() => {
    isDue = false;
    const wanted = $("filter").value.toLowerCase();
    const found = frames.filter((it) => it.text.toLowerCase().includes(wanted));
    $("frames").replaceChildren(...found.slice(-200).reverse().map(({ at, direction, text, size, took }) => {
      const arrow = { in: "← ", out: "→ ", note: "• " }[direction];
      const time = at.toLocaleTimeString(locale(), { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" });
      const facts = [time, direction !== "note" && bytes(size), took && milliseconds(took)].filter(Boolean).join(" · ");
      return element("p", { className: direction }, element("b", { textContent: arrow }), element("small", { textContent: `${facts} ` }), text);
    }));
  });
}

function answered(began) {
  const took = (performance.now() - began) / 1000;
  latency.add([took]);
  return took;
}

function state(name) {
  const states = { online: "ok", ready: "ok", connecting: "connecting", waiting: "warning" };
  $("live").dataset.state = states[name] ?? "down";
  $("live").textContent = text(name);
  $("live").dataset.name = name;
  $("connect").textContent = text(link ? "disconnect" : "connect");
  $("connect").disabled = name === "ready";
  $("drop").disabled = name !== "online";
}

function say(what, isBad) {
  $("notice").dataset.state = isBad ? "down" : "ok";
  $("notice").textContent = what;
}

// The dialect of /ws, by the library; its WebSocket shows what passes.
class RawLink {
  #socket;
  #asked = new Map();
  #next = 1;
  #rooms = new Map();

  constructor() {
    const link = this;
    class Shown extends WebSocket {
      constructor(...values) {
        super(...values);
        link.#socket = this;
        this.addEventListener("message", ({ data }) => link.#heard(data));
        this.addEventListener("close", ({ code, reason }) => note("note", `close ${code} ${reason}`));
      }

      send(data) {
        note("out", data);
        super.send(data);
      }
    }
    this.client = new Switchboard("/ws", { token: token || null, storage: null, WebSocket: Shown, fallback: null });
    this.client.when("state", ({ state: name, reason }) => {
      if (name === "waiting") note("note", text("lost"));
      if (name === "ended") note("note", `${text("ended")}: ${reason}`);
      if (link !== current()) return;
      state(name);
    });
    this.client.when("ready", ({ isResumed }) => note("note", text(isResumed ? "resumed" : "fresh")));
  }

  #heard(data) {
    const { requestId } = JSON.parse(data);
    const began = this.#asked.get(requestId);
    this.#asked.delete(requestId);
    note("in", data, { took: began && answered(began) });
  }

  // Joins and leaves go by the library, so that it comes back to the rooms.
  send({ type, ...fields }) {
    if (type === "join-room" && fields.roomId) {
      const { roomId, ...options } = fields;
      const room = this.client.join(roomId, options);
      room.joined.catch(() => {});
      return this.#rooms.set(roomId, room);
    }
    if (type === "leave-room" && this.#rooms.has(fields.roomId)) {
      this.#rooms.get(fields.roomId).leave().catch(() => {});
      return this.#rooms.delete(fields.roomId);
    }
    const requestId = `console-${this.#next++}`;
    this.#asked.set(requestId, performance.now());
    this.#socket.send(JSON.stringify({ type, ...fields, requestId }));
  }

  drop() {
    this.client.drop();
  }

  close() {
    this.client.close();
  }
}

// A Socket.IO client, as the server has it; the packets of its engine are shown.
class SocketIoLink {
  constructor(dialect) {
    this.namespace = dialect === "notify" ? "/" : "/chat";
  }

  async open() {
    const { io } = await import("/socket.io/socket.io.esm.min.js");
    const socket = (this.socket = io(location.origin + (this.namespace === "/" ? "" : this.namespace), {
      auth: token ? { token } : {},
      forceNew: true,
      reconnectionDelay: 500,
      reconnectionDelayMax: 5_000,
    }));
    const spy = () => {
      const { engine } = socket.io;
      const shown = ({ type, data }) => (typeof data === "string" || data === undefined ? `${type} ${data ?? ""}` : data);
      engine.on("packet", (packet) => note("in", shown(packet)));
      engine.on("packetCreate", (packet) => note("out", shown(packet)));
    };
    socket.io.on("open", spy);
    socket.on("connect", () => {
      note("note", text(socket.recovered ? "resumed" : "fresh"));
      if (current() === this) state("online");
    });
    socket.on("connect_error", (error) => note("note", error.message));
    socket.on("disconnect", (reason) => {
      note("note", `${text("lost")}: ${reason}`);
      if (current() === this) state(socket.active ? "waiting" : "ended");
    });
  }

  async send({ event, args }) {
    const began = performance.now();
    try {
      const ack = await this.socket.timeout(ACK_MS).emitWithAck(event, ...args);
      note("in", JSON.stringify(ack ?? null), { took: answered(began) });
    } catch (error) {
      note("note", `${event}: ${error.message}`);
    }
  }

  drop() {
    this.socket.io.engine.close();
  }

  close() {
    this.socket.disconnect();
    this.socket.io.engine?.close();
  }
}

const current = () => link;

async function connect() {
  const dialect = $("dialect").value;
  if (dialect === "rest") return;
  state("connecting");
  try {
    if (dialect === "raw") {
      link = new RawLink();
    } else {
      const made = new SocketIoLink(dialect);
      link = made;
      await made.open();
    }
  } catch (error) {
    link = null;
    say(error.message, true);
  }
  state(link ? "connecting" : "offline");
}

function disconnect() {
  const former = link;
  link = null;
  former?.close();
  state($("dialect").value === "rest" ? "ready" : "offline");
}

// Forms.

// The fields of a request, as a table of the manual lists them.
function fieldsOf(listed) {
  const plain = listed.replace(/admins only.*/, "");
  const found = [...plain.matchAll(/([A-Za-z]+)(\?)?/g)].filter(([, name]) => !WORDS.includes(name));
  const names = new Map(found.map(([, name, isOptional]) => [name, isOptional ? "optional" : "needed"]));
  return [...names].map(([name, need]) => ({
    name,
    place: "body",
    isNeeded: need === "needed",
    type: JSON_FIELDS.includes(name) ? "json" : NUMBER_FIELDS.includes(name) ? "number" : /^is[A-Z]/.test(name) ? "boolean" : "string",
  }));
}

// The calls of the OpenAPI document, with their fields.
async function loadRest() {
  const document = await (await fetch("/openapi.json")).json();
  const resolve = (it) => (it?.$ref ? resolve(it.$ref.slice(2).split("/").reduce((at, key) => at[key], document)) : it ?? {});
  const typeOf = (schema) => {
    const whole = resolve(schema);
    const type = [whole.type ?? resolve(whole.anyOf?.[0]).type].flat()[0];
    return { integer: "number", object: "json", array: "json" }[type] ?? type ?? "json";
  };
  for (const [path, item] of Object.entries(document.paths)) {
    for (const method of ["get", "post", "put", "patch", "delete"].filter((name) => item[name])) {
      const call = item[method];
      const parameters = [...(item.parameters ?? []), ...(call.parameters ?? [])].map(resolve).filter((it) => it.in !== "header");
      const schema = resolve(call.requestBody?.content?.["application/json"]?.schema);
      const needed = schema.required ?? [];
      rest.push({
        method: method.toUpperCase(),
        path,
        summary: call.summary,
        tag: call.tags?.[0] ?? "",
        fields: [
          ...parameters.map((it) => ({ name: it.name, place: it.in, isNeeded: !!it.required, type: typeOf(it.schema) })),
          ...Object.entries(schema.properties ?? {}).map(([name, it]) => ({ name, place: "body", isNeeded: needed.includes(name), type: typeOf(it) })),
        ],
      });
    }
  }
  rest.sort((one, other) => one.tag.localeCompare(other.tag));
}

// The operation that is chosen: its name and fields.
function chosen() {
  const dialect = $("dialect").value;
  const name = $("operation").value;
  if (dialect === "rest") return rest.find((it) => `${it.method} ${it.path}` === name) ?? rest[0];
  const all = dialect === "raw" ? OPERATIONS.raw : { ...OPERATIONS[dialect], ...OPERATIONS.shared };
  return { name, fields: fieldsOf(all[name] ?? "") };
}

function showOperations(wanted) {
  const dialect = $("dialect").value;
  const names = dialect === "rest"
    ? rest.map((it) => [`${it.method} ${it.path}`, `${it.method} ${it.path}`])
    : Object.keys(dialect === "raw" ? OPERATIONS.raw : { ...OPERATIONS[dialect], ...OPERATIONS.shared }).map((name) => [name, name]);
  $("operation").replaceChildren(...names.map(([value, textContent]) => element("option", { value, textContent })));
  if (wanted && names.some(([value]) => value === wanted)) $("operation").value = wanted;
  showFields();
}

function showFields(values = {}) {
  const { fields = [] } = chosen() ?? {};
  $("fields").replaceChildren(...fields.map(({ name, isNeeded, type, place }) => {
    const input = element("input", { id: `field-${place}-${name}`, autocomplete: "off", spellcheck: false, value: values[name] ?? "" });
    Object.assign(input.dataset, { name, type, place });
    const hint = element("span", { textContent: `${name}${isNeeded ? " *" : ""}` });
    return element("label", {}, hint, input);
  }));
  $("frame-label").textContent = text({ raw: "rawFrame", rest: "body" }[$("dialect").value] ?? "payload");
  compose();
}

// The value of a field, as JSON where it is of another type than a text.
function valueOf(input) {
  const { type } = input.dataset;
  if (type === "string") return input.value;
  try {
    return JSON.parse(input.value);
  } catch {
    return input.value;
  }
}

const filled = (place) => [...$("fields").querySelectorAll("input")].filter((it) => it.value !== "" && it.dataset.place === place);

function compose() {
  const dialect = $("dialect").value;
  const body = Object.fromEntries(filled("body").map((it) => [it.dataset.name, valueOf(it)]));
  const operation = chosen();
  const whole = dialect === "raw" ? { type: operation?.name, ...body } : body;
  const hasBody = dialect !== "rest" || operation?.fields.some((it) => it.place === "body");
  $("frame").value = hasBody ? JSON.stringify(whole) : "";
  showCode();
}

function path() {
  const { path: pattern } = chosen();
  const named = Object.fromEntries(filled("path").map((it) => [it.dataset.name, it.value]));
  const query = new URLSearchParams(filled("query").map((it) => [it.dataset.name, it.value])).toString();
  return pattern.replace(/\{(\w+)\}/g, (_, name) => encodeURIComponent(named[name] ?? `{${name}}`)) + (query && `?${query}`);
}

async function send() {
  const dialect = $("dialect").value;
  let content = {};
  try {
    if ($("frame").value.trim()) content = JSON.parse($("frame").value);
  } catch (error) {
    return say(`${text("notJson")} ${error.message}`, true);
  }
  say("");
  if (dialect !== "rest" && $("live").dataset.name !== "online") return say(text("needsConnection"), true);
  if (dialect === "raw") return link.send(content);
  if (dialect !== "rest") return link.send({ event: $("operation").value, args: $("frame").value.trim() ? [content] : [] });
  const { method } = chosen();
  const target = path();
  const body = method === "GET" || !$("frame").value.trim() || $("frame").value.trim() === "{}" ? undefined : $("frame").value;
  note("out", `${method} ${target}${body ? ` ${body}` : ""}`);
  const began = performance.now();
  try {
    const headers = { ...(token && { Authorization: `Bearer ${token}` }), ...(body && { "Content-Type": "application/json" }) };
    const answer = await fetch(target, { method, headers, body, cache: "no-store" });
    const took = answered(began);
    note("in", `${answer.status} ${target.endsWith("/trace") ? "" : await answer.text()}`, { took });
  } catch (error) {
    note("note", error.message);
  }
}

// Copies.

const quoted = (value) => `'${value.replaceAll("'", "'\\''")}'`;

function code() {
  const dialect = $("dialect").value;
  const form = $("copy-as").value;
  const content = $("frame").value.trim() || "{}";
  const { origin } = location;
  const socket = origin.replace(/^http/, "ws");
  const event = $("operation").value;
  if (dialect === "rest") {
    const { method } = chosen();
    const url = origin + path();
    const body = method === "GET" || content === "{}" ? "" : content;
    if (form === "curl") return `curl -X ${method} ${quoted(url)} -H "Authorization: Bearer $TOKEN"${body && ` \\\n  -H 'Content-Type: application/json' -d ${quoted(body)}`}`;
    if (form === "javascript") return `const answer = await fetch(${JSON.stringify(url)}, {\n  method: "${method}",\n  headers: { Authorization: \`Bearer \${token}\`${body && `, "Content-Type": "application/json"`} },${body && `\n  body: JSON.stringify(${body}),`}\n});\nconsole.log(answer.status, await answer.text());`;
    if (form === "python") return `import json, os, urllib.request\n\nrequest = urllib.request.Request(${JSON.stringify(url)}, method="${method}",\n    headers={"Authorization": "Bearer " + os.environ["TOKEN"], "Content-Type": "application/json"}${body && `,\n    data=${JSON.stringify(body)}.encode()`})\nprint(urllib.request.urlopen(request).read().decode())`;
    return text("notFor");
  }
  if (dialect === "raw") {
    if (form === "wscat") return `wscat -c "${socket}/ws?events=all&token=$TOKEN" -x ${quoted(content)} -w 5`;
    if (form === "javascript") return `const socket = new WebSocket("${socket}/ws", ["bearer", token]);\nsocket.onmessage = ({ data }) => console.log(data);\nsocket.onopen = () => socket.send(JSON.stringify(${content}));`;
    if (form === "python") return `import asyncio, os, websockets\n\nasync def main():\n    async with websockets.connect("${socket}/ws", additional_headers={"Authorization": "Bearer " + os.environ["TOKEN"]}) as socket:\n        await socket.send(${JSON.stringify(content)})\n        async for text in socket:\n            print(text)\n\nasyncio.run(main())`;
    const message = JSON.parse(isJson(content) ? content : "{}");
    if (form === "curl" && message.type === "message" && message.roomId) {
      const body = JSON.stringify({ rooms: [message.roomId], data: message.data ?? message.content, ...(message.event && { event: message.event }) });
      return `curl -X POST ${origin}/api/v1/publish -H "Authorization: Bearer $TOKEN" \\\n  -H 'Content-Type: application/json' -d ${quoted(body)}`;
    }
    return text("notFor");
  }
  const namespace = dialect === "notify" ? "/" : "/chat";
  const at = origin + (namespace === "/" ? "" : namespace);
  if (form === "socketio" || form === "javascript") return `import { io } from "socket.io-client";\n\nconst socket = io("${at}", { auth: { token: process.env.TOKEN } });\nsocket.onAny((...event) => console.log(event));\nconsole.log(await socket.emitWithAck("${event}", ${content}));`;
  if (form === "python") return `import json, os, socketio\n\nclient = socketio.Client()\nclient.connect("${origin}", namespaces=["${namespace}"], auth={"token": os.environ["TOKEN"]})\nprint(client.call("${event}", json.loads(${JSON.stringify(content)}), namespace="${namespace}"))`;
  return text("notFor");
}

function isJson(value) {
  try {
    return typeof JSON.parse(value) === "object";
  } catch {
    return false;
  }
}

const showCode = () => ($("code").textContent = code());

// The form in the address, without the token.
function share() {
  const values = Object.fromEntries([...filled("body"), ...filled("path"), ...filled("query")].map((it) => [it.dataset.name, it.value]));
  for (const name of ["token", "recoveryToken", "hostSecret"]) delete values[name];
  const state = { dialect: $("dialect").value, operation: $("operation").value, values };
  return `${location.origin}${location.pathname}#${encodeURIComponent(JSON.stringify(state))}`;
}

function restore() {
  try {
    const { dialect, operation, values } = JSON.parse(decodeURIComponent(location.hash.slice(1)));
    $("dialect").value = dialect;
    showOperations(operation);
    showFields(values);
  } catch {
    showOperations();
  }
}

const { text, translate } = texts(TEXTS, () => {
  $("pause").textContent = text(isPaused ? "resume" : "pause");
  $("charts").replaceChildren(latency.figure(text("answers")));
  state($("live").dataset.name ?? "offline");
  showCode();
});

$("connection").addEventListener("submit", (event) => {
  event.preventDefault();
  if (link) disconnect();
  else connect();
});
$("token").addEventListener("input", () => {
  token = $("token").value.trim().replace(/^Bearer\s+/i, "");
  sessionStorage.setItem("console-token", token);
});
$("drop").addEventListener("click", () => link?.drop());
$("dialect").addEventListener("change", () => {
  disconnect();
  showOperations();
});
$("operation").addEventListener("change", () => showFields());
$("fields").addEventListener("input", compose);
$("frame").addEventListener("input", showCode);
$("copy-as").addEventListener("change", showCode);
$("request").addEventListener("submit", (event) => {
  event.preventDefault();
  send();
});
$("copy").addEventListener("click", async () => {
  await copied(code());
  say(text("done"));
});
$("share").addEventListener("click", async () => {
  await copied(share());
  say(text("done"));
});
$("mint").addEventListener("submit", async (event) => {
  event.preventDefault();
  const role = $("mint-role").value;
  const body = JSON.stringify({ sub: $("mint-user").value, ...(role && { role }) });
  const answer = await fetch("/dev/token", { method: "POST", headers: { "Content-Type": "application/json" }, body });
  const made = await answer.json();
  if (!answer.ok) return say(made.error, true);
  $("token").value = token = made.token;
  sessionStorage.setItem("console-token", token);
  say("");
});
$("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  $("pause").ariaPressed = String(isPaused);
  $("pause").textContent = text(isPaused ? "resume" : "pause");
  show();
});
$("clear").addEventListener("click", () => {
  frames = [];
  $("frames").replaceChildren();
});
$("filter").addEventListener("input", show);

$("token").value = token;
await loadRest();
restore();
translate();
