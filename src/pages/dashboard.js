// The dashboard of operators: figures from /metrics and /healthz each second, lists and actions by REST. The token is kept for
// this tab only. All texts are in TEXTS.

import { $, Chart, bytes, copied, element, locale, milliseconds, texts, whole } from "./page.js";

// Each text in English and German.
const TEXTS = {
  title: ["Switchboard dashboard", "Switchboard-Übersicht"],
  access: ["Access", "Zugang"],
  token: ["Token of an admin, or API key", "Token eines Administrators oder API-Schlüssel"],
  use: ["Use it", "Verwenden"],
  language: ["Language", "Sprache"],
  tokenHint: ["switchboard token --sub operator --role admin makes one; with --dev the server prints it. It is kept for this tab only.", "switchboard token --sub operator --role admin erzeugt eines; mit --dev gibt der Server es aus. Es bleibt nur in diesem Tab."],
  live: ["Live", "Live"],
  pause: ["Pause", "Anhalten"],
  resume: ["Continue", "Fortsetzen"],
  health: ["Health", "Zustand"],
  closed: ["Ended connections, by reason", "Beendete Verbindungen nach Grund"],
  rooms: ["Rooms", "Räume"],
  users: ["Users", "Nutzer"],
  search: ["Search", "Suche"],
  next: ["Next page", "Nächste Seite"],
  blocked: ["Blocked users", "Gesperrte Nutzer"],
  webhooks: ["Webhook events that were given up", "Aufgegebene Webhook-Ereignisse"],
  cancel: ["Cancel", "Abbrechen"],
  none: ["None", "Keine"],
  running: ["Running", "Läuft"],
  warning: ["Running, with warnings", "Läuft, mit Warnungen"],
  critical: ["Critical", "Kritisch"],
  down: ["No answer", "Keine Antwort"],
  connections: ["Connections", "Verbindungen"],
  messages: ["Messages/s", "Nachrichten/s"],
  deliveries: ["Socket writes/s", "Socket-Schreibvorgänge/s"],
  latency: ["Publish p50, p99", "Veröffentlichen p50, p99"],
  turn: ["Loop turn p99", "Schleifendurchlauf p99"],
  memory: ["Memory", "Speicher"],
  queue: ["Longest queue", "Längste Warteschlange"],
  bytes: ["Sent bytes/s", "Gesendete Bytes/s"],
  uptime: ["Uptime", "Laufzeit"],
  version: ["Version", "Version"],
  lag: ["Storage lag", "Rückstand des Speichers"],
  room: ["Room", "Raum"],
  members: ["Members", "Mitglieder"],
  user: ["User", "Nutzer"],
  status: ["Status", "Status"],
  since: ["Since", "Seit"],
  reason: ["Reason", "Grund"],
  endpoint: ["Endpoint", "Endpunkt"],
  event: ["Event", "Ereignis"],
  message: ["Message", "Nachricht"],
  close: ["Close", "Schließen"],
  disconnect: ["Disconnect", "Trennen"],
  block: ["Block", "Sperren"],
  unblock: ["Unblock", "Entsperren"],
  replay: ["Deliver again", "Erneut zustellen"],
  ok: ["Do it", "Ausführen"],
  text: ["Text", "Text"],
  reasonTold: ["Reason, which the user is told", "Grund, der dem Nutzer genannt wird"],
  done: ["Done", "Erledigt"],
  needToken: ["The lists need a token.", "Die Listen brauchen ein Token."],
  elsewhere: ["This listener does not serve figures and calls of operators; open the dashboard where `listen_admin` serves them.", "Hier sind keine Zahlen und Aufrufe für Betreiber; öffne die Übersicht dort, wo `listen_admin` sie anbietet."],
  askMessage: ["Message to", "Nachricht an"],
  askClose: ["Close the room", "Raum schließen:"],
  askDisconnect: ["Disconnect", "Trennen:"],
  askBlock: ["Block", "Sperren:"],
  trace: ["Frames, live", "Frames, live"],
  traceOf: ["Of", "Von"],
  subject: ["Name, id or address", "Name, Kennung oder Adresse"],
  address: ["Address", "Adresse"],
  connection: ["Connection", "Verbindung"],
  watch: ["Watch", "Beobachten"],
  stop: ["Stop", "Beenden"],
  clear: ["Clear", "Leeren"],
  filter: ["Filter", "Filter"],
  copyCurl: ["Copy as curl", "Als curl kopieren"],
  copied: ["Copied", "Kopiert"],
  traceHint: ["What passes between this server and one user, room, address or connection, tokens masked. Nothing is copied while nobody watches.", "Was zwischen diesem Server und einem Nutzer, einem Raum, einer Adresse oder einer Verbindung übertragen wird, Tokens verdeckt. Solange niemand zusieht, wird nichts kopiert."],
  framesShown: ["frames", "Frames"],
  skippedFrames: ["left out", "ausgelassen"],
  settings: ["Settings in force", "Geltende Einstellungen"],
  setting: ["Setting", "Einstellung"],
  value: ["Value", "Wert"],
  source: ["Source", "Herkunft"],
  takesEffect: ["Takes effect", "Gilt"],
  atOnce: ["when read again", "nach erneutem Einlesen"],
  restart: ["after a restart", "nach einem Neustart"],
  lastReload: ["Different when settings were last read again,", "Geändert, als die Einstellungen zuletzt eingelesen wurden,"],
  noReload: ["Settings have not been read again since the start", "Die Einstellungen wurden seit dem Start nicht erneut eingelesen"],
  before: ["Before", "Vorher"],
  nowValue: ["Now", "Jetzt"],
  secret: ["(secret)", "(geheim)"],
  inForce: ["In force", "In Kraft"],
};

const EVERY_MS = 1_000;
const LISTS_MS = 5_000;
const PAGE = 50;

let token = sessionStorage.getItem("dashboard-token") ?? "";
let isPaused = false;
let last = null;
let usersAfter = null;

// Each chart: its value or values at an instant, from the metrics now and those before, and how it is written.
const CHARTS = [
  ["connections", (now) => [now.sum("connections")], whole],
  ["messages", (now, before) => [now.rate(before, "room_messages_total")], whole],
  ["deliveries", (now, before) => [now.rate(before, "socket_writes_total")], whole],
  ["latency", (now, before) => [0.5, 0.99].map((part) => now.quantile(before, "publish_seconds", part)), milliseconds],
  ["turn", (now, before) => [now.quantile(before, "loop_turn_seconds", 0.99)], milliseconds],
  ["memory", (now) => [now.sum("resident_memory_bytes")], bytes],
  ["queue", (now) => [now.sum("queue_length")], whole],
  ["bytes", (now, before) => [now.rate(before, "socket_sent_bytes_total")], bytes],
].map(([name, values, write]) => Object.assign(new Chart(name, write), { values }));

// The Prometheus text: values by name and labels.
class Metrics {
  at = performance.now();
  series = new Map();

  constructor(body) {
    for (const line of body.split("\n")) {
      const parts = /^switchboard_(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
      if (!parts) continue;
      const [, name, labels = "", value] = parts;
      if (!this.series.has(name)) this.series.set(name, new Map());
      this.series.get(name).set(labels, Number(value));
    }
  }

  labels(name) {
    return this.series.get(name) ?? new Map();
  }

  sum(name) {
    return [...this.labels(name).values()].reduce((sum, value) => sum + value, 0);
  }

  rate(before, name) {
    return before ? Math.max(0, ((this.sum(name) - before.sum(name)) * 1000) / (this.at - before.at)) : 0;
  }

  // The bound of the bucket that has this part of the observations since then; null if there were none.
  quantile(before, name, part) {
    const old = before?.labels(`${name}_bucket`);
    const counts = [...this.labels(`${name}_bucket`)].map(([labels, count]) => [
      Number(/le="([^"]*)"/.exec(labels)[1].replace("+Inf", "Infinity")), count - (old?.get(labels) ?? 0)]);
    const total = counts.at(-1)?.[1] ?? 0;
    if (!total) return null;
    const found = counts.find(([, count]) => count >= total * part)[0];
    return found === Infinity ? counts.at(-2)[0] : found;
  }
}

const { text, translate } = texts(TEXTS, () => {
  $("pause").textContent = text(isPaused ? "resume" : "pause");
  showTraceState();
  $("charts").replaceChildren(...CHARTS.map((chart) => chart.figure(text(chart.name))));
  lists();
});

async function ask(method, path, body) {
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(path, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
  const value = answer.status === 204 ? {} : await answer.json().catch(() => ({}));
  if (!answer.ok) throw Object.assign(new Error(value.error ?? answer.statusText), { status: answer.status });
  return value;
}

function say(what, state = "ok") {
  $("notice").dataset.state = state;
  $("notice").textContent = what;
}

function facts(id, entries) {
  $(id).replaceChildren(...entries.map(([name, value]) => element("div", {}, element("dt", { textContent: name }), element("dd", { textContent: value }))));
}

async function figures() {
  try {
    const health = await (await fetch("/healthz", { cache: "no-store" })).json();
    const answer = await fetch("/metrics", { cache: "no-store" });
    const states = { healthy: ["ok", "running"], warning: ["warning", "warning"], critical: ["down", "critical"] };
    const [state, name] = states[health.status] ?? states.critical;
    $("live").dataset.state = state;
    $("live").textContent = text(name);
    const advice = [...health.issues, ...health.recommendations].map((it) => (typeof it === "string" ? it : JSON.stringify(it)));
    $("advice").replaceChildren(...advice.map((it) => element("li", { textContent: it })));
    if (!answer.ok) return say(text("elsewhere"), "down");
    const now = new Metrics(await answer.text());
    facts("facts", [
      [text("version"), health.version],
      [text("uptime"), `${whole(health.uptimeSeconds)} s`],
      [text("rooms"), whole(now.sum("rooms"))],
      [text("users"), whole(now.sum("users"))],
      [text("lag"), milliseconds(now.sum("storage_lag_seconds"))],
    ]);
    facts("closed", [...now.labels("connections_closed_total")].map(([labels, count]) => [/"(.*)"/.exec(labels)[1], whole(count)]));
    for (const chart of CHARTS) chart.add(chart.values(now, last));
    last = now;
  } catch {
    $("live").dataset.state = "down";
    $("live").textContent = text("down");
  }
}

// A table of rows: [cells, actions], an action being [name, function].
function table(id, heads, rows) {
  const focused = document.activeElement?.dataset.key;
  if (!rows.length) return $(id).replaceChildren(element("p", { className: "dim", textContent: text("none") }));
  const head = element("tr", {}, ...heads.map((name) => element("th", { scope: "col", textContent: text(name) })), element("td"));
  const body = rows.map(([cells, actions]) => element("tr", {}, ...cells.map((cell) => element("td", { textContent: cell })), element("td", {},
    ...actions.map(([name, act]) => {
      const button = element("button", { type: "button", className: "quiet", textContent: text(name), ariaLabel: `${text(name)}: ${cells[0]}` });
      button.dataset.key = `${id} ${name} ${cells[0]}`;
      button.addEventListener("click", act);
      return button;
    }))));
  $(id).replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...body)));
  if (focused) [...$(id).querySelectorAll("button")].find((button) => button.dataset.key === focused)?.focus();
}

// Asks for a confirmation, with a text if there is a label; null if it was cancelled.
function confirmed(title, label) {
  $("ask-title").textContent = title;
  $("ask-yes").textContent = text("ok");
  $("ask-label").hidden = !label;
  $("ask-label").firstElementChild.textContent = label ?? "";
  $("ask-text").value = "";
  $("ask").returnValue = "";
  $("ask").showModal();
  return new Promise((resolve) => {
    $("ask").onclose = () => resolve($("ask").returnValue === "yes" ? $("ask-text").value : null);
  });
}

const acting = (title, label, act) => async () => {
  const said = await confirmed(title, label);
  if (said === null) return;
  try {
    await act(said);
    say(text("done"));
    await lists();
  } catch (error) {
    say(error.message, "down");
  }
};

const id = encodeURIComponent;

async function showRooms() {
  const wanted = $("rooms-search").value.toLowerCase();
  const { rooms } = await ask("GET", "/api/rooms");
  const found = rooms.filter((room) => room.roomId.toLowerCase().includes(wanted));
  const count = (room) => room.participantCount ?? room.peerCount ?? 0;
  table("rooms", ["room", "members"], found.sort((one, other) => count(other) - count(one)).slice(0, PAGE).map((room) => [
    [room.roomId, whole(count(room))],
    [
      ["message", acting(`${text("askMessage")} ${room.roomId}`, text("text"), (data) => ask("POST", "/api/v1/publish", { rooms: [room.roomId], data }))],
      ["close", acting(`${text("askClose")} ${room.roomId}`, null, () => ask("DELETE", `/api/v1/rooms/${id(room.roomId)}`))],
    ],
  ]));
}

async function showUsers() {
  const from = usersAfter ? `&after=${id(usersAfter)}` : "";
  const { users, next } = await ask("GET", `/websocket/users/connected?limit=${PAGE}${from}`);
  $("users-next").hidden = !next && !usersAfter;
  $("users-next").onclick = () => {
    usersAfter = next ?? null;
    showUsers();
  };
  table("users", ["user", "status", "connections"], users.map(({ userId, status, connections }) => [
    [userId, status, whole(connections)],
    [
      ["message", acting(`${text("askMessage")} ${userId}`, text("text"), (message) => ask("POST", "/websocket/message/user", { userId, type: "admin", data: { message } }))],
      ["disconnect", acting(`${text("askDisconnect")} ${userId}`, null, () => ask("DELETE", `/websocket/users/${id(userId)}/disconnect`))],
      ["block", acting(`${text("askBlock")} ${userId}`, text("reasonTold"), (reason) => ask("POST", `/users/${id(userId)}/block`, reason ? { reason } : {}))],
    ],
  ]));
}

async function showBlocks() {
  const { blocked } = await ask("GET", `/users/blocked?limit=${PAGE}`);
  table("blocks", ["user", "reason", "since"], blocked.map(({ userId, reason, createdAt }) => [
    [userId, reason ?? "", createdAt],
    [["unblock", async () => {
      await ask("DELETE", `/users/${id(userId)}/block`).catch((error) => say(error.message, "down"));
      await showBlocks();
    }]],
  ]));
}

async function showHooks() {
  const { deadLetters } = await ask("GET", "/api/v1/webhooks/dead-letters");
  table("hooks", ["endpoint", "event", "since"], deadLetters.map(({ endpoint, event, deadSince }) => [
    [endpoint, event?.type ?? "", deadSince],
    [["replay", async () => {
      await ask("POST", `/api/v1/webhooks/${id(endpoint)}/replay`).catch((error) => say(error.message, "down"));
      await showHooks();
    }]],
  ]));
}

async function showSettings() {
  const wanted = $("settings-search").value.toLowerCase();
  const { settings, changes, reloadedAt } = await ask("GET", "/api/v1/settings");
  $("changes-title").textContent = reloadedAt ? `${text("lastReload")} ${new Date(reloadedAt).toLocaleString(locale())}` : text("noReload");
  $("changes").hidden = !reloadedAt;
  const shown = (value) => value ?? text("secret");
  table("changes", ["setting", "before", "nowValue", "inForce"], changes.map(({ key, before, now, isInForce }) => [
    [key, shown(before), shown(now), text(isInForce ? "atOnce" : "restart")], []]));
  table("settings", ["setting", "value", "source", "takesEffect"], settings.filter(({ key }) => key.includes(wanted)).map(
    ({ key, value, source, isLive }) => [[key, value, source, text(isLive ? "atOnce" : "restart")], []]));
}

async function lists() {
  if (!token) return say(text("needToken"));
  try {
    for (const show of [showRooms, showUsers, showBlocks, showHooks, showSettings]) await show();
    if ($("notice").dataset.state === "down" || $("notice").textContent === text("needToken")) say("");
  } catch (error) {
    say(error.message, "down");
  }
}

// The frames of a trace: the answer to one request, line by line, until it is stopped.
const FRAMES_MAX = 1_000;
const tracing = { abort: null, isPaused: false, frames: [], skipped: 0, isDue: false };
const traceBody = () => JSON.stringify({ [$("trace-kind").value]: $("trace-subject").value.trim() });

function showTraceState() {
  $("trace-go").textContent = text(tracing.abort ? "stop" : "watch");
  $("trace-pause").textContent = text(tracing.isPaused ? "resume" : "pause");
  $("trace-pause").ariaPressed = String(tracing.isPaused);
  $("trace-count").textContent = `${whole(tracing.frames.length)} ${text("framesShown")}${tracing.skipped ? `, ${whole(tracing.skipped)} ${text("skippedFrames")}` : ""}`;
}

function frameLine({ at, direction, kind, size, userId, address, frame, isCut }) {
  const head = element("small", { textContent: `${at.slice(11, 23)} ${userId ?? address} · ${kind} · ${bytes(size)} ` });
  return element("p", { className: direction }, element("b", { textContent: direction === "in" ? "→ " : "← " }), head, `${frame ?? ""}${isCut ? "…" : ""}`);
}

function showFrames() {
  if (tracing.isDue || tracing.isPaused) return;
  tracing.isDue = true;
  requestAnimationFrame(() => {
    tracing.isDue = false;
    const wanted = $("trace-filter").value.toLowerCase();
    const found = tracing.frames.filter((it) => !wanted || JSON.stringify(it).toLowerCase().includes(wanted));
    $("frames").replaceChildren(...found.slice(-200).reverse().map(frameLine));
    showTraceState();
  });
}

async function watch() {
  const abort = (tracing.abort = new AbortController());
  showTraceState();
  try {
    const headers = { Authorization: `Bearer ${token}`, "Content-Type": "application/json" };
    const answer = await fetch("/api/v1/trace", { method: "POST", headers, body: traceBody(), signal: abort.signal });
    if (!answer.ok) throw new Error((await answer.json()).error);
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines.map(JSON.parse)) {
        if (line.skipped) tracing.skipped += line.skipped;
        else tracing.frames.push(line);
      }
      tracing.frames.splice(0, Math.max(0, tracing.frames.length - FRAMES_MAX));
      showFrames();
    }
  } catch (error) {
    if (error.name !== "AbortError") say(error.message, "down");
  }
  if (tracing.abort === abort) tracing.abort = null;
  showTraceState();
}

$("trace").addEventListener("submit", (event) => {
  event.preventDefault();
  if (!tracing.abort) return watch();
  tracing.abort.abort();
  tracing.abort = null;
  showTraceState();
});
$("trace-pause").addEventListener("click", () => {
  tracing.isPaused = !tracing.isPaused;
  showTraceState();
  showFrames();
});
$("trace-clear").addEventListener("click", () => {
  Object.assign(tracing, { frames: [], skipped: 0 });
  $("frames").replaceChildren();
  showTraceState();
});
$("trace-copy").addEventListener("click", async () => {
  const quoted = traceBody().replaceAll("'", "'\\''");
  await copied(`curl -N ${location.origin}/api/v1/trace -H "Authorization: Bearer $ADMIN" -H 'Content-Type: application/json' -d '${quoted}'`);
  say(text("copied"));
});
$("trace-filter").addEventListener("input", showFrames);
$("settings-search").addEventListener("input", () => token && showSettings().catch((error) => say(error.message, "down")));
$("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token").value.trim().replace(/^Bearer\s+/i, "");
  sessionStorage.setItem("dashboard-token", token);
  lists();
});
$("pause").addEventListener("click", () => {
  isPaused = !isPaused;
  $("pause").ariaPressed = String(isPaused);
  $("pause").textContent = text(isPaused ? "resume" : "pause");
});
$("rooms-search").addEventListener("input", () => token && showRooms().catch((error) => say(error.message, "down")));

$("token").value = token;
translate();
figures();
setInterval(() => document.hidden || isPaused || figures(), EVERY_MS);
setInterval(() => document.hidden || isPaused || $("ask").open || (token && lists()), LISTS_MS);
