// What the call looks like: screens, tiles, side panel, chat lines, toasts.
//
// Nothing here knows sockets or peer connections: `render` is given the people to show and makes
// the page agree. Text from others enters the page through `textContent` only.

const GAP_PX = 10;
const WIDEST = 16 / 9;
const TOAST_MS = 6_000;
const SHOWN_WITHIN_MS = 500;
const AVATAR_HUES = 8;

export const $ = (id) => document.getElementById(id);

export function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

export function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("class", "icon");
  svg.append(use);
  return svg;
}

// "join", "room" or "ended".
export function showScreen(name) {
  for (const screen of ["join", "room", "ended"]) $(screen).hidden = screen !== name;
  if (name === "ended") $("ended-title").focus();
}

export function showEnded({ title, text, again = "Join again" }) {
  $("ended-title").textContent = title;
  $("ended-text").textContent = text;
  $("ended-again").textContent = again || "";
  $("ended-again").hidden = !again;
  showScreen("ended");
}

export function showStatus(state, text) {
  $("status").dataset.state = state;
  $("status").textContent = text;
}

export function toast(text, action) {
  const node = element("div", { className: "toast" }, element("span", { textContent: text }));
  const gone = () => node.remove();
  if (action) {
    const button = element("button", { type: "button", className: "quiet", textContent: action.label });
    button.addEventListener("click", () => { action.run(); gone(); });
    node.append(button);
  } else {
    setTimeout(gone, TOAST_MS);
  }
  for (const shown of $("toasts").children) if (shown.firstChild.textContent === text) shown.remove();
  $("toasts").append(node);
}

// Buttons marked data-media keep their name and show by `aria-pressed` whether it is on; the tip says what a click would do.
export function showMedia(state) {
  const words = { audio: ["Unmute", "Mute"], video: ["Turn camera on", "Turn camera off"], screen: ["Share screen", "Stop sharing"] };
  for (const button of document.querySelectorAll("[data-media]")) {
    const kind = button.dataset.media;
    button.setAttribute("aria-pressed", String(state[kind]));
    button.dataset.tip = words[kind][Number(state[kind])];
  }
  $("sharing").hidden = !state.screen;
}

export function paintAvatar(node, name) {
  const words = name.trim().split(/\s+/).filter(Boolean);
  const initials = [words[0], words.length > 1 ? words.at(-1) : null].filter(Boolean).map((word) => [...word][0]);
  node.textContent = initials.join("").toUpperCase() || "?";
  let hash = 0;
  for (const char of name) hash = (hash * 31 + char.codePointAt(0)) >>> 0;
  node.dataset.hue = String(hash % AVATAR_HUES);
}

// A video element covers the avatar from its first picture on.
export function showPicture(tile, video, track) {
  // The one that takes the place of `video` later is the last one, too.
  const update = () => {
    const shown = tile.querySelector("video:last-of-type");
    tile.classList.toggle("has-video", Boolean(shown.srcObject) && shown.videoWidth > 0);
  };
  video.onresize = update;
  attach(video, track);
  update();
}

const trackOf = (node) => node?.srcObject?.getTracks()[0] ?? null;

// By media element: the one that takes its place as soon as it plays.
const successors = new WeakMap();

// A media element shows the same track until it is given another one. An element that is given another source begins with an
// empty picture, so one that plays already goes on until the other track has a picture or sound in an element of its own.
function attach(node, track = null) {
  const waiting = successors.get(node);
  if (waiting && trackOf(waiting) === track) return;
  waiting?.remove();
  successors.delete(node);
  if (trackOf(node) === track) return;
  if (!track || !trackOf(node)) return play(node, track);
  const next = node.cloneNode();
  next.muted = node.muted;
  next.removeAttribute("id");
  next.removeAttribute("data-part");
  successors.set(node, next);
  node.before(next);
  whenShown(next, () => successors.get(node) === next && replace(node, next));
  play(next, track);
}

function replace(node, next) {
  successors.delete(node);
  next.id = node.id;
  next.dataset.part = node.dataset.part;
  next.onresize = node.onresize;
  node.remove();
  node.srcObject = null;
  next.onresize?.();
}

function play(node, track) {
  node.srcObject = track ? new MediaStream([track]) : null;
  if (track) node.play().catch((error) => error.name === "NotAllowedError" && soundBlocked());
}

// Calls `act`, more than once perhaps, when an element has shown its first picture or plays its sound.
function whenShown(node, act) {
  if (node.tagName === "AUDIO") return node.addEventListener("playing", act, { once: true });
  node.requestVideoFrameCallback?.(act);
  // A page in the background shows no pictures.
  node.addEventListener("loadeddata", () => setTimeout(act, SHOWN_WITHIN_MS), { once: true });
}

// The tracks that the tiles of a person show just now.
export function shownTracks(id) {
  const of = (key) => trackOf(tiles.get(`${key}:${id}`)?.querySelector("[data-part=video]"));
  return { camera: of("person"), screen: of("screen") };
}

function soundBlocked() {
  const run = () => document.querySelectorAll("audio, video").forEach((node) => node.srcObject && node.play().catch(() => {}));
  toast("The browser is holding back the sound.", { label: "Play sound", run });
}

const tiles = new Map();

// What is large: a pinned person, or who speaks, or nobody in the grid. `output` is the loudspeaker.
export const view = { name: "grid", pinned: null, speaker: null, output: "" };

export function setSpeaker(deviceId) {
  view.output = deviceId;
  for (const node of document.querySelectorAll("#stage audio")) node.setSinkId?.(deviceId).catch(() => {});
}

export function showQuality(known) {
  for (const [key, tile] of tiles) {
    const quality = key.startsWith("person:") ? known.get(tile.dataset.id) : undefined;
    const mark = tile.querySelector("[data-part=quality]");
    mark.dataset.quality = quality ?? "";
    mark.title = quality ? `Connection: ${quality}` : "";
    mark.textContent = quality ? `Connection ${quality}` : "";
  }
}

// One tile per person and one per shared screen. A person is {id, name, self, mediaState, audio,
// camera, screen, note}; tracks are MediaStreamTracks or null.
export function renderTiles(people) {
  const wanted = new Set();
  const others = people.filter(({ self }) => !self);
  const speaker = others.find(({ id }) => id === view.speaker) ?? others[0];
  const large = view.pinned ?? (view.name === "speaker" ? speaker?.id : null);
  for (const person of people) {
    renderTile(wanted, `person:${person.id}`, $(person.id === large ? "spotlight" : "grid"), person, false);
    if (person.screen && person.mediaState.screen && !person.self) {
      renderTile(wanted, `screen:${person.id}`, $("spotlight"), person, true);
    }
  }
  for (const [key, tile] of tiles) {
    if (wanted.has(key)) continue;
    for (const media of tile.querySelectorAll("video, audio")) media.srcObject = null;
    tile.remove();
    tiles.delete(key);
  }
  $("spotlight").hidden = !$("spotlight").childElementCount;
  $("stage").classList.toggle("with-spotlight", !$("spotlight").hidden);
  $("alone").hidden = people.length > 1;
  layout();
}

function renderTile(wanted, key, parent, person, isScreen) {
  wanted.add(key);
  const tile = tiles.get(key) ?? makeTile(key, isScreen);
  if (tile.parentNode !== parent) parent.append(tile);
  const [avatar, video, audio] = ["avatar", "video", "audio"].map((name) => tile.querySelector(`[data-part=${name}]`));
  const picture = isScreen ? person.screen : person.mediaState.video ? person.camera : null;
  showPicture(tile, video, picture);
  attach(audio, isScreen || person.self ? null : person.audio);
  paintAvatar(avatar, person.name);
  tile.dataset.id = person.id;
  tile.classList.toggle("tile-self", person.self && !isScreen);
  tile.classList.toggle("is-muted", !isScreen && !person.mediaState.audio);
  tile.classList.toggle("has-hand", !isScreen && Boolean(person.hand));
  const pin = tile.querySelector("[data-pin]");
  pin.hidden = isScreen;
  pin.setAttribute("aria-pressed", String(view.pinned === person.id));
  pin.setAttribute("aria-label", `Pin ${person.name}`);
  tile.querySelector("[data-part=name]").textContent = isScreen ? `${person.name}’s screen` : person.self ? `${person.name} (you)` : person.name;
  tile.querySelector("[data-part=note]").textContent = person.note ?? "";
}

function makeTile(key, isScreen) {
  const tile = element("article", { className: isScreen ? "tile tile-screen" : "tile" },
    element("div", { className: "avatar", "data-part": "avatar", "aria-hidden": "true" }),
    element("video", { autoplay: true, muted: true, playsInline: true, "data-part": "video" }),
    element("audio", { autoplay: true, "data-part": "audio" }),
    element("p", { className: "tile-note", "data-part": "note" }),
    element("span", { className: "tile-quality", "data-part": "quality" }),
    element("span", { className: "tile-hand", role: "img", "aria-label": "Hand raised" }, icon("hand")),
    element("button", { type: "button", className: "tile-pin", "data-pin": "", "aria-pressed": "false" }, icon("pin")),
    element("p", { className: "tile-name" },
      element("span", { className: "tile-muted", title: "Muted" }, icon("mic-off")),
      element("span", { "data-part": "name" })));
  tiles.set(key, tile);
  return tile;
}

export function showSpeaking(id, speaking) {
  tiles.get(`person:${id}`)?.classList.toggle("is-speaking", speaking);
}

// Makes the tiles of each area as large as they can be without cropping a face away.
export function layout() {
  for (const area of [$("grid"), $("spotlight")]) {
    const count = area.childElementCount;
    if (!count || area.hidden) continue;
    const { clientWidth: width, clientHeight: height } = area;
    const narrowest = width < height ? 3 / 4 : 1.2;
    const best = fit(width, height, count, narrowest);
    area.style.setProperty("--tile-width", `${Math.floor(best.width)}px`);
    area.style.setProperty("--tile-height", `${Math.floor(best.height)}px`);
  }
}

function fit(width, height, count, narrowest) {
  let best = { width: 0, height: 0 };
  for (let columns = 1; columns <= count; columns++) {
    const rows = Math.ceil(count / columns);
    const cellWidth = (width - GAP_PX * (columns - 1)) / columns;
    const cellHeight = (height - GAP_PX * (rows - 1)) / rows;
    const tileWidth = Math.min(cellWidth, cellHeight * WIDEST);
    const tileHeight = Math.min(cellHeight, tileWidth / narrowest);
    if (tileWidth * tileHeight > best.width * best.height) best = { width: tileWidth, height: tileHeight };
  }
  return best;
}

export function renderPeople(people) {
  $("people-count").textContent = $("people-badge").textContent = String(people.length);
  // The name has what the button shows.
  document.querySelector("[data-panel=people]").setAttribute("aria-label", `People ${people.length}`);
  $("people-list").replaceChildren(...people.map((person) => {
    const avatar = element("span", { className: "avatar small", "aria-hidden": "true" });
    paintAvatar(avatar, person.name);
    const { audio, video, screen } = person.mediaState;
    const says = [audio ? "microphone on" : "muted", video ? "camera on" : "camera off"];
    if (screen) says.push("sharing the screen");
    return element("li", {}, avatar,
      element("span", { className: "person" },
        element("span", { className: "person-name", textContent: person.self ? `${person.name} (you)` : person.name }),
        element("span", { className: "person-note", textContent: person.note || (person.hand ? "Hand raised" : screen ? "Sharing the screen" : "") })),
      element("span", { className: "states", role: "img", "aria-label": says.join(", ") },
        ...(screen ? [icon("screen")] : []), icon(audio ? "mic" : "mic-off"), icon(video ? "camera" : "camera-off")));
  }));
}

// ---- side panel ----

let unread = 0;

// "people", "chat" or null.
export function openPanel(name) {
  $("panel").hidden = !name;
  for (const button of document.querySelectorAll("[data-panel]")) {
    button.setAttribute("aria-expanded", String(button.dataset.panel === name));
  }
  for (const tab of ["people", "chat"]) {
    $(tab).hidden = tab !== name;
    $(`tab-${tab}`).setAttribute("aria-selected", String(tab === name));
    $(`tab-${tab}`).tabIndex = tab === name ? 0 : -1;
  }
  if (name === "chat") {
    unread = 0;
    $("messages").scrollTop = $("messages").scrollHeight;
  }
  showUnread();
  layout();
}

export function panelShown() {
  return $("panel").hidden ? null : $("chat").hidden ? "people" : "chat";
}

function showUnread() {
  $("chat-badge").hidden = unread === 0;
  $("chat-badge").textContent = unread > 99 ? "99+" : String(unread);
  document.querySelector("[data-panel=chat]").setAttribute("aria-label", unread ? `Chat, ${$("chat-badge").textContent} unread` : "Chat");
}

export function wirePanel() {
  const close = () => {
    const opener = document.querySelector(`[data-panel="${panelShown()}"]`);
    openPanel(null);
    opener?.focus();
  };
  for (const button of document.querySelectorAll("[data-panel]")) {
    button.addEventListener("click", () => {
      const name = button.dataset.panel;
      openPanel(panelShown() === name ? null : name);
      if (panelShown() === "chat" && matchMedia("(hover: hover)").matches) $("chat-text").focus();
    });
  }
  $("panel-close").addEventListener("click", close);
  $("panel").addEventListener("keydown", (event) => event.key === "Escape" && close());
  for (const tab of ["people", "chat"]) {
    $(`tab-${tab}`).addEventListener("click", () => openPanel(tab));
    $(`tab-${tab}`).addEventListener("keydown", (event) => {
      if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
      const other = tab === "people" ? "chat" : "people";
      openPanel(other);
      $(`tab-${other}`).focus();
    });
  }
  new ResizeObserver(layout).observe($("stage"));
}

// ---- chat ----

const lines = new WeakMap();

// Shows a message, or how one that is shown has changed.
export function showMessage(message) {
  const { name, text, at, self } = message;
  const known = lines.get(message);
  if (known) {
    known.textContent = stateOf(message);
    return;
  }
  const time = new Date(at).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
  const state = element("span", { className: "message-state", textContent: stateOf(message) });
  lines.set(message, state);
  addLine(element("div", { className: self ? "message own" : "message" },
    element("p", { className: "message-head" },
      element("span", { className: "message-name", textContent: self ? "You" : name }),
      element("time", { textContent: time, dateTime: new Date(at).toISOString() }), state),
    element("p", { className: "message-text", textContent: text })));
  if (!self && panelShown() !== "chat") {
    unread += 1;
    showUnread();
  }
}

function stateOf({ self, state, delivered, read }) {
  if (!self) return "";
  if (state !== "sent") return state === "failed" ? "Not sent" : "Sending…";
  return read ? `Read by ${read}` : delivered ? `Received by ${delivered}` : "Sent";
}

export function addEvent(text) {
  addLine(element("p", { className: "chat-event", textContent: text }));
}

function addLine(node) {
  $("chat-empty").hidden = true;
  const box = $("messages");
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
  box.append(node);
  if (atEnd) box.scrollTop = box.scrollHeight;
}

// ---- clipboard ----

// Pages served over plain http have no clipboard API; a selected field still can be copied.
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const field = element("textarea", { value: text, className: "offscreen", readOnly: true });
    document.body.append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    return copied;
  }
}
