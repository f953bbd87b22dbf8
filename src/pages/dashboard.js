// The dashboard of operators: figures from /metrics and /healthz each second, lists and actions by REST. The token is kept for
// this tab only. All texts are in TEXTS.

const TEXTS = {
  en: {
    title: "Switchboard dashboard", access: "Access", token: "Token of an admin, or API key", use: "Use it", language: "Language",
    tokenHint: "switchboard token --sub operator --role admin makes one; with --dev the server prints it. It is kept for this tab only.",
    live: "Live", pause: "Pause", resume: "Continue", health: "Health", closed: "Ended connections, by reason", rooms: "Rooms",
    users: "Users", search: "Search", next: "Next page", blocked: "Blocked users", webhooks: "Webhook events that were given up",
    cancel: "Cancel", none: "None", running: "Running", warning: "Running, with warnings", critical: "Critical", down: "No answer",
    connections: "Connections", messages: "Messages/s", deliveries: "Socket writes/s", latency: "Publish p50, p99", turn: "Loop turn p99",
    memory: "Memory", queue: "Longest queue", bytes: "Sent bytes/s", uptime: "Uptime", version: "Version", lag: "Storage lag",
    room: "Room", members: "Members", user: "User", status: "Status", since: "Since", reason: "Reason", endpoint: "Endpoint", event: "Event",
    message: "Message", close: "Close", disconnect: "Disconnect", block: "Block", unblock: "Unblock", replay: "Deliver again", ok: "Do it",
    text: "Text", reasonTold: "Reason, which the user is told", done: "Done", needToken: "The lists need a token.",
    elsewhere: "This listener does not serve figures and calls of operators; open the dashboard where `listen_admin` serves them.",
    askMessage: "Message to", askClose: "Close the room", askDisconnect: "Disconnect", askBlock: "Block",
  },
  de: {
    title: "Switchboard-Übersicht", access: "Zugang", token: "Token eines Administrators oder API-Schlüssel", use: "Verwenden", language: "Sprache",
    tokenHint: "switchboard token --sub operator --role admin erzeugt eines; mit --dev gibt der Server es aus. Es bleibt nur in diesem Tab.",
    live: "Live", pause: "Anhalten", resume: "Fortsetzen", health: "Zustand", closed: "Beendete Verbindungen nach Grund", rooms: "Räume",
    users: "Nutzer", search: "Suche", next: "Nächste Seite", blocked: "Gesperrte Nutzer", webhooks: "Aufgegebene Webhook-Ereignisse",
    cancel: "Abbrechen", none: "Keine", running: "Läuft", warning: "Läuft, mit Warnungen", critical: "Kritisch", down: "Keine Antwort",
    connections: "Verbindungen", messages: "Nachrichten/s", deliveries: "Socket-Schreibvorgänge/s", latency: "Veröffentlichen p50, p99", turn: "Schleifendurchlauf p99",
    memory: "Speicher", queue: "Längste Warteschlange", bytes: "Gesendete Bytes/s", uptime: "Laufzeit", version: "Version", lag: "Rückstand des Speichers",
    room: "Raum", members: "Mitglieder", user: "Nutzer", status: "Status", since: "Seit", reason: "Grund", endpoint: "Endpunkt", event: "Ereignis",
    message: "Nachricht", close: "Schließen", disconnect: "Trennen", block: "Sperren", unblock: "Entsperren", replay: "Erneut zustellen", ok: "Ausführen",
    text: "Text", reasonTold: "Grund, der dem Nutzer genannt wird", done: "Erledigt", needToken: "Die Listen brauchen ein Token.",
    elsewhere: "Hier sind keine Zahlen und Aufrufe für Betreiber; öffne die Übersicht dort, wo `listen_admin` sie anbietet.",
    askMessage: "Nachricht an", askClose: "Raum schließen:", askDisconnect: "Trennen:", askBlock: "Sperren:",
  },
};

const EVERY_MS = 1_000;
const LISTS_MS = 5_000;
const POINTS = 120;
const PAGE = 50;
const WIDTH = 240;
const HEIGHT = 60;
const SVG = "http://www.w3.org/2000/svg";

const $ = (id) => document.getElementById(id);
let language = localStorage.getItem("language") ?? (navigator.language.startsWith("de") ? "de" : "en");
const text = (name) => TEXTS[language][name] ?? name;
let token = sessionStorage.getItem("dashboard-token") ?? "";
let isPaused = false;
let last = null;
let usersAfter = null;

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made[key] = value;
  made.append(...children);
  return made;
}

const whole = (value) => Math.round(value).toLocaleString(language);
const milliseconds = (seconds) => (seconds === null ? "–" : `${(seconds * 1000).toLocaleString(language, { maximumSignificantDigits: 2 })} ms`);
function bytes(value) {
  const unit = value >= 1e9 ? ["GB", 1e9] : value >= 1e6 ? ["MB", 1e6] : value >= 1e3 ? ["kB", 1e3] : ["B", 1];
  return `${(value / unit[1]).toLocaleString(language, { maximumFractionDigits: 1 })} ${unit[0]}`;
}

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
].map(([name, values, write]) => ({ name, values, write, points: [] }));

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

function translate() {
  document.documentElement.lang = language;
  document.title = text("title");
  $("language").value = language;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = text(node.dataset.text);
  $("pause").textContent = text(isPaused ? "resume" : "pause");
  $("charts").replaceChildren(...CHARTS.map((chart) => {
    chart.value = element("strong");
    chart.svg = document.createElementNS(SVG, "svg");
    chart.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    chart.svg.setAttribute("preserveAspectRatio", "none");
    chart.svg.setAttribute("aria-hidden", "true");
    draw(chart);
    return element("figure", { className: "chart" }, element("figcaption", {}, element("span", { textContent: text(chart.name) }), chart.value), chart.svg);
  }));
}

function draw(chart) {
  const newest = chart.points.at(-1) ?? [];
  chart.value.textContent = newest.map(chart.write).join(" · ") || "–";
  const most = Math.max(1e-9, ...chart.points.flat().filter((value) => value !== null));
  chart.svg.replaceChildren(...newest.map((_, place) => {
    const line = document.createElementNS(SVG, "polyline");
    const start = POINTS - chart.points.length;
    const at = (values, index) => `${((start + index) * WIDTH) / (POINTS - 1)},${HEIGHT - 2 - ((values[place] ?? 0) / most) * (HEIGHT - 6)}`;
    line.setAttribute("points", chart.points.map(at).join(" "));
    if (place) line.setAttribute("class", "second");
    return line;
  }));
}

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
    for (const chart of CHARTS) {
      chart.points.push(chart.values(now, last));
      if (chart.points.length > POINTS) chart.points.shift();
      draw(chart);
    }
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

async function lists() {
  if (!token) return say(text("needToken"));
  try {
    for (const show of [showRooms, showUsers, showBlocks, showHooks]) await show();
    if ($("notice").dataset.state === "down" || $("notice").textContent === text("needToken")) say("");
  } catch (error) {
    say(error.message, "down");
  }
}

$("language").addEventListener("change", () => {
  language = $("language").value;
  localStorage.setItem("language", language);
  translate();
  lists();
});
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
lists();
setInterval(() => document.hidden || isPaused || figures(), EVERY_MS);
setInterval(() => document.hidden || isPaused || $("ask").open || (token && lists()), LISTS_MS);
