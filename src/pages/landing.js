// The landing page: fills in this server's address and keeps its status fresh.

const EVERY_MS = 5_000;
const FACTS_MAX = 6;

const scheme = location.protocol === "https:" ? "wss:" : "ws:";
const fills = { host: location.host, ws: `${scheme}//${location.host}` };
for (const node of document.querySelectorAll("[data-fill]")) node.textContent = fills[node.dataset.fill];

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", async () => {
    const source = document.getElementById(button.dataset.copy);
    button.textContent = (await copy(source)) ? "Copied" : "Select and copy";
    setTimeout(() => { button.textContent = "Copy"; }, 2_000);
  });
}

// Pages served over plain http have no clipboard API; selected text still can be copied.
async function copy(source) {
  try {
    await navigator.clipboard.writeText(source.textContent);
    return true;
  } catch {
    getSelection().selectAllChildren(source);
    return document.execCommand("copy");
  }
}

// The answer's status, and its JSON when it has one; null when nothing answers.
async function probe(path) {
  try {
    const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(EVERY_MS) });
    const body = await answer.json().catch(() => null);
    return { ok: answer.ok, body: body && typeof body === "object" ? body : {} };
  } catch {
    return null;
  }
}

async function refresh() {
  const [health, ready] = await Promise.all([probe("/healthz"), probe("/readyz")]);
  const live = document.getElementById("live");
  const warning = health?.body.status === "warning";
  if (!health) show(live, "down", "Not reachable");
  else if (!health.ok) show(live, "down", "Unhealthy");
  else if (warning) show(live, "warning", "Running, with warnings");
  else show(live, "ok", "Running");

  const facts = [
    ["Health", health ? words(health, "Healthy", "Unhealthy") : "No answer", stateOf(health)],
    ["New clients", ready ? words(ready, "Accepted", "Not accepted") : "No answer", stateOf(ready)],
  ];
  const more = { ...ready?.body, ...health?.body };
  for (const [key, value] of Object.entries(more)) {
    if (key === "status" || !["string", "number", "boolean"].includes(typeof value)) continue;
    if (facts.length < FACTS_MAX) facts.push([label(key), display(key, value)]);
  }
  document.getElementById("facts").replaceChildren(...facts.map(([name, value, state]) => {
    const row = document.createElement("div");
    const term = document.createElement("dt");
    const detail = document.createElement("dd");
    term.textContent = name;
    detail.textContent = value;
    if (state) detail.dataset.state = state;
    row.append(term, detail);
    return row;
  }));
}

function show(node, state, text) {
  node.dataset.state = state;
  if (node.textContent !== text) node.textContent = text;
}

function stateOf(answer) {
  if (!answer?.ok) return "down";
  return answer.body.status === "warning" ? "warning" : "ok";
}

function words(answer, good, bad) {
  if (!answer.ok) return bad;
  return answer.body.status === "warning" ? "Warning" : good;
}

// uptimeSeconds → "Uptime"
function label(key) {
  const text = key.replace(/(_seconds|_ms|Seconds|Ms)$/, "").replaceAll("_", " ").replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function display(key, value) {
  if (typeof value === "boolean") return value ? "Yes" : "No";
  if (typeof value !== "number") return value;
  if (!/uptime/i.test(key)) return value.toLocaleString();
  const seconds = Math.floor(/ms$/i.test(key) ? value / 1000 : value);
  const [days, hours, minutes] = [Math.floor(seconds / 86400), Math.floor(seconds / 3600) % 24, Math.floor(seconds / 60) % 60];
  if (days) return `${days} d ${hours} h`;
  if (hours) return `${hours} h ${minutes} min`;
  return minutes ? `${minutes} min` : `${seconds} s`;
}

refresh();
setInterval(() => document.hidden || refresh(), EVERY_MS);
