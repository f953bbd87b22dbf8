// The test client: one button per function of the push dialect. It needs no library, so that it also works when it is opened
// from the disk: it speaks as much of Engine.IO 4 and Socket.IO 5 as one WebSocket in the namespace "/" takes.

"use strict";

const $ = (id) => document.getElementById(id);
let socket = null;

function log(what, value) {
  const line = document.createElement("li");
  line.textContent = value === undefined ? what : `${what}: ${typeof value === "string" ? value : JSON.stringify(value)}`;
  $("log").append(line);
}

function show(state) {
  $("state").textContent = state;
  log(state);
}

function serverUrl() {
  return $("server").value.trim().replace(/\/+$/, "");
}

function token() {
  return $("token").value.trim();
}

function receive(text) {
  if (text[0] === "0") return socket.send(`40${JSON.stringify({ token: token() })}`);
  if (text[0] === "2") return socket.send(`3${text.slice(1)}`);
  if (text.startsWith("40")) return show("connected");
  if (text.startsWith("41")) return socket.close();
  if (text.startsWith("44")) return log("connect_error", JSON.parse(text.slice(2)));
  if (text.startsWith("42")) {
    const [event, ...values] = JSON.parse(text.slice(2).replace(/^\d+/, ""));
    log(event, values.length > 1 ? values : values[0]);
  }
}

function connect() {
  disconnect();
  const opened = new WebSocket(`${serverUrl().replace(/^http/, "ws")}/socket.io/?EIO=4&transport=websocket&recovery=0`);
  socket = opened;
  opened.onmessage = ({ data }) => opened === socket && receive(data);
  opened.onerror = () => log("error", "the connection failed; see the browser's console");
  opened.onclose = ({ code, reason }) => {
    if (opened === socket) {
      socket = null;
      show("disconnected");
      log("closed", reason ? `${code} ${reason}` : String(code));
    }
  };
}

function disconnect() {
  if (socket) {
    if (socket.readyState === WebSocket.OPEN) socket.send("41");
    socket.close();
  }
}

function ping() {
  if (socket?.readyState !== WebSocket.OPEN) return log("ping", "not connected");
  socket.send(`42${JSON.stringify(["ping"])}`);
}

async function call(method, path, body) {
  const headers = { Authorization: `Bearer ${token()}` };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  try {
    const response = await fetch(serverUrl() + path, { method, headers, body: JSON.stringify(body) });
    const text = await response.text();
    log(`${method} ${path} ${response.status}`, text);
  } catch (error) {
    log(`${method} ${path}`, `${error.message}; may this page's origin use the server (cors.origins)?`);
  }
}

const users = () => $("users").value.split(",").map((user) => user.trim()).filter(Boolean);
const user = () => encodeURIComponent(users()[0] ?? "");
const content = () => ({ type: $("type").value, data: { message: $("text").value } });

const functions = {
  connect,
  disconnect,
  ping,
  "send-user": () => call("POST", "/websocket/message/user", { userId: users()[0], ...content() }),
  "send-users": () => call("POST", "/websocket/message/users", { userIds: users(), ...content() }),
  broadcast: () => call("POST", "/websocket/message/broadcast", content()),
  notify: () => call("POST", "/websocket/notification", { userId: users()[0], title: $("title").value, body: $("text").value }),
  "connected-users": () => call("GET", "/websocket/users/connected"),
  "user-status": () => call("GET", `/websocket/users/${user()}/status`),
  "my-status": () => call("GET", "/websocket/me/status"),
  "disconnect-user": () => call("DELETE", `/websocket/users/${user()}/disconnect`),
  clear: () => $("log").replaceChildren(),
};

for (const [id, act] of Object.entries(functions)) $(id).addEventListener("click", act);
if (location.protocol.startsWith("http")) $("server").value = location.origin;
