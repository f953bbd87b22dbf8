// The reference: /openapi.json and /asyncapi.json as a page. An entry is filled in when it is opened.

const DEPTH_MAX = 6;

const make = (tag, attributes, ...children) => {
  const node = Object.assign(document.createElement(tag), attributes);
  node.append(...children.filter((child) => child !== null && child !== undefined));
  return node;
};
const code = (text) => make("code", {}, text);
const sentence = (text) => (text ? `${text.replace(/\.$/, "")}.` : "");
const anchor = (text) => text.toLowerCase().replace(/[^a-z0-9]+/g, "-");

// What a reference in a document stands for.
function resolve(root, node) {
  for (let steps = 0; node?.$ref && steps < DEPTH_MAX; steps += 1) {
    node = node.$ref.slice(2).split("/").reduce((at, key) => at?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], root);
  }
  return node ?? {};
}

function typeOf(root, schema) {
  const { type, items, format, const: only, enum: values, anyOf, oneOf } = schema;
  if (only !== undefined) return JSON.stringify(only);
  if (values) return values.length > 8 ? `one of ${values.length} texts` : values.map((it) => JSON.stringify(it)).join(" or ");
  const choices = anyOf ?? oneOf;
  if (choices) return choices.map((it) => typeOf(root, resolve(root, it))).join(" or ");
  const own = Array.isArray(type) ? type.join(" or ") : type ?? "any JSON";
  return own.includes("array") && items ? `list of ${typeOf(root, resolve(root, items))}` : format ? `${own} (${format})` : own;
}

function limits(schema) {
  const told = [];
  const { minimum, maximum, minLength, maxLength, minItems, maxItems, default: usual } = schema;
  if (minimum !== undefined || maximum !== undefined) told.push(`${minimum ?? ""}…${maximum ?? ""}`);
  if (minLength !== undefined || maxLength !== undefined) told.push(`${minLength ?? 0}…${maxLength ?? ""} characters`);
  if (minItems !== undefined || maxItems !== undefined) told.push(`${minItems ?? 0}…${maxItems ?? ""} items`);
  if (usual !== undefined) told.push(`default ${JSON.stringify(usual)}`);
  return told.join(", ");
}

// The fields of a schema, those of objects within it behind them.
function* fields(root, schema, prefix = "", depth = 0) {
  const whole = resolve(root, schema);
  for (const part of whole.allOf ?? []) yield* fields(root, part, prefix, depth);
  const required = new Set(whole.required ?? []);
  for (const [name, property] of Object.entries(whole.properties ?? {})) {
    const value = resolve(root, property);
    yield { name: prefix + name, value, isRequired: required.has(name) };
    if (depth < DEPTH_MAX) yield* fields(root, value, `${prefix}${name}.`, depth + 1);
  }
  if (whole.items && depth < DEPTH_MAX) yield* fields(root, whole.items, `${prefix.replace(/\.$/, "")}[].`, depth + 1);
  for (const choice of whole.anyOf ?? whole.oneOf ?? []) yield* fields(root, choice, prefix, depth + 1);
}

function table(label, heads, rows) {
  const head = make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col" }, text))));
  const body = make("tbody", {}, ...rows.map(([first, ...cells]) =>
    make("tr", {}, make("th", { scope: "row" }, first), ...cells.map((cell) => make("td", {}, cell)))));
  const scroll = make("div", { className: "scroll", tabIndex: 0, role: "region", ariaLabel: label }, make("table", {}, head, body));
  return scroll;
}

function shape(root, label, schema) {
  const seen = new Map();
  for (const field of fields(root, schema)) if (!seen.has(field.name)) seen.set(field.name, field);
  if (seen.size === 0) return make("p", {}, `${label}: ${typeOf(root, resolve(root, schema))}`);
  const rows = [...seen.values()].map(({ name, value, isRequired }) => [
    code(name),
    `${typeOf(root, value)}${isRequired ? "" : ", optional"}`,
    [value.description, limits(value)].filter(Boolean).join(" "),
  ]);
  return table(label, ["Field", "Type", "Meaning"], rows);
}

const example = (value) => make("pre", { tabIndex: 0 }, code(JSON.stringify(value, null, 2)));

function examplesOf(media) {
  const values = Object.values(media.examples ?? {}).map((it) => it.value);
  return [media.example, ...values].filter((it) => it !== undefined).slice(0, 1);
}

function call(root, operation, shared) {
  const parts = [make("p", {}, sentence(operation.description ?? ""))];
  const parameters = [...shared, ...(operation.parameters ?? [])].map((it) => resolve(root, it));
  if (parameters.length) {
    parts.push(make("h4", {}, "Parameters"), table("Parameters", ["Name", "In", "Type", "Meaning"], parameters.map((it) => [
      code(it.name), `${it.in}${it.required ? "" : ", optional"}`, typeOf(root, resolve(root, it.schema)),
      [it.description, limits(resolve(root, it.schema ?? {}))].filter(Boolean).join(" "),
    ])));
  }
  const contents = (of) => Object.entries(of.content ?? {});
  for (const [kind, media] of contents(resolve(root, operation.requestBody ?? {}))) {
    parts.push(make("h4", {}, `Body, ${kind}`), shape(root, "Body", media.schema ?? {}), ...examplesOf(media).map(example));
  }
  for (const [status, given] of Object.entries(operation.responses ?? {})) {
    const answer = resolve(root, given);
    parts.push(make("h4", {}, `${status} ${answer.description ?? ""}`));
    if (Number(status) >= 400) continue;
    for (const [, media] of contents(answer)) {
      parts.push(shape(root, `Answer ${status}`, media.schema ?? {}), ...examplesOf(media).map(example));
    }
  }
  return parts;
}

function message(root, it) {
  const parts = [shape(root, "Fields", it.payload ?? {})];
  if (it["x-ack"]) parts.push(make("h4", {}, "Acknowledgement"), shape(root, "Acknowledgement", it["x-ack"]));
  return parts;
}

// An entry that is filled in when it is opened.
function entry(verb, name, about, fill) {
  const body = make("div");
  const node = make("details", { className: "entry" }, make("summary", {},
    make("span", { className: "verb" }, verb), " ", code(name), " ", make("span", { className: "about" }, about)), body);
  node.dataset.text = `${verb} ${name} ${about}`.toLowerCase();
  node.addEventListener("toggle", () => {
    if (node.open && !body.hasChildNodes()) body.append(...fill());
  });
  return node;
}

const parts = [];

function section(title, about, entries) {
  const id = anchor(title);
  parts.push([id, title]);
  return make("section", { id }, make("h2", {}, title), about && make("p", { className: "dim" }, about), ...entries);
}

function callSections(root) {
  const byTag = new Map();
  for (const [path, item] of Object.entries(root.paths)) {
    for (const [method, operation] of Object.entries(item)) {
      if (method === "parameters") continue;
      const tag = operation.tags?.[0] ?? "Calls";
      if (!byTag.has(tag)) byTag.set(tag, []);
      const fill = () => call(root, operation, item.parameters ?? []);
      byTag.get(tag).push(entry(method.toUpperCase(), path, operation.summary ?? "", fill));
    }
  }
  const about = new Map((root.tags ?? []).map((tag) => [tag.name, tag.description]));
  return [...byTag].map(([tag, entries]) => section(`HTTP: ${tag}`, about.get(tag), entries));
}

function messageSections(root) {
  return Object.entries(root.channels).map(([name, channel]) => {
    const all = Object.values(channel.messages).map((it) => resolve(root, it));
    const asked = new Set(Object.values(root.operations).filter((it) => it.action === "receive")
      .flatMap((it) => it.messages.map((one) => resolve(root, one))));
    const entries = all.map((it) => entry(asked.has(it) ? "send" : "receive", it.name, it.summary ?? "", () => message(root, it)));
    return section(`Protocol: ${name}`, [channel.title, channel.description].filter(Boolean).join(". "), entries);
  });
}

function find(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  for (const node of document.querySelectorAll(".entry")) {
    node.hidden = !words.every((word) => node.dataset.text.includes(word));
    count += node.hidden ? 0 : 1;
  }
  for (const node of document.querySelectorAll("#reference section")) {
    node.hidden = !node.querySelector(".entry:not([hidden])");
  }
  document.getElementById("found").textContent = `${count} calls and messages`;
}

async function start() {
  const load = async (path) => (await fetch(path)).json();
  const [calls, messages] = await Promise.all([load("/openapi.json"), load("/asyncapi.json")]);
  document.getElementById("reference").append(...callSections(calls), ...messageSections(messages));
  const links = parts.map(([id, title]) => make("li", {}, make("a", { href: `#${id}` }, title)));
  document.getElementById("parts").append(make("ul", {}, ...links));
  const input = document.getElementById("find");
  input.form.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("input", () => find(input.value));
  find("");
  if (location.hash) document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

start().catch((error) => {
  document.getElementById("found").textContent = `The reference cannot be loaded: ${error.message}`;
});
