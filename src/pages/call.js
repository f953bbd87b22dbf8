// The call page: joins a room over /ws and holds a mesh call in it.
//
// This file only connects the parts: `signaling.js` (the link), `peers.js` (the media mesh), `callserver.js` (media by the
// server), `callpaths.js` (which of the two), `callchat.js` (the chat), `callcontrols.js` (keys, hands, views, devices), `media.js` (this side's devices) and `ui.js` (the page). Address parameters: room, name, token,
// autojoin=1 (no join screen), audio=0 and video=0 (start with that device off).
//
// `window.call` is the page's handle for scripts and tests; see the end of the file.

import { Signaling, signalingUrl } from "./signaling.js";
import { LocalMedia } from "./media.js";
import { Mesh } from "./peers.js";
import { Chat } from "./callchat.js";
import { Controls } from "./callcontrols.js";
import { Paths } from "./callpaths.js";
import { ServerLink } from "./callserver.js";
import * as ui from "./ui.js";

const MESH_PEERS_MAX = 8;
const TAKEN_RETRY_MS = 3_000;
const TAKEN_RETRIES_MAX = 20;
const FAILURES_MAX = 3;
const SPEAKING_LEVEL = 0.02;
const SPEAKING_EVERY_MS = 300;
const FRAMES_EVERY_MS = 2_000;
// What the server takes, in bytes of UTF-8.
const NAME_BYTES_MAX = 128;
const RETRIED_CODES = new Set(["TIMEOUT", "RATE_LIMITED", "OVERLOADED", "STORAGE_UNAVAILABLE", "INTERNAL"]);

const { $ } = ui;
const params = new URLSearchParams(location.search);
const token = ownToken();
const roomWasGenerated = !params.get("room");
let roomId = fitting(params.get("room")) || randomWord(10);
let peerId = ownPeerId();
let displayName = fitting(params.get("name")) || remembered("localStorage", "switchboard.name") || "";

// "lobby", "joining", "joined", "rejoining" or "ended".
let phase = "lobby";
let takenRetries = 0;
// Attempts to connect that failed before the first greeting.
let failures = 0;
let retryTimer = 0;
const media = new LocalMedia();
let signaling = null;
let mesh = null;
let link = null;
let paths = null;
const controls = new Controls({
  media,
  get mesh() { return mesh; },
  get peerId() { return peerId; },
  tell: (toPeerId, event, data) => phase === "joined" && signaling.send("message", { roomId, toPeerId, event, data }),
  render: () => phase !== "lobby" && render(),
});
const chat = new Chat({
  get roomId() { return roomId; },
  get peerId() { return peerId; },
  get displayName() { return displayName; },
  get signaling() { return signaling; },
  get isIn() { return phase === "joined"; },
  get isOver() { return phase === "ended" || phase === "lobby"; },
  show(message) {
    ui.showMessage(message);
    if (ui.panelShown() === "chat" && !document.hidden) chat.read();
  },
});

// ---- joining ----

function join() {
  phase = "joining";
  takenRetries = 0;
  failures = 0;
  mesh = new Mesh({ selfId: peerId, media, send: sendSignal });
  link = new ServerLink({ media, send: (type, body) => signaling.request(type, { roomId, fromPeerId: peerId, toPeerId: "sfu", ...body }) });
  paths = new Paths({ mesh, link, report: reportFailure, shown: ui.shownTracks });
  paths.addEventListener("change", render);
  paths.addEventListener("fallback", ({ detail }) => ui.toast(`${detail.reason} The call goes on from peer to peer.`));
  mesh.addEventListener("change", render);
  signaling = new Signaling(signalingUrl(), token);
  signaling.addEventListener("connect", enterRoom);
  signaling.addEventListener("message", ({ detail }) => receive(detail));
  signaling.addEventListener("state", ({ detail }) => linkChanged(detail));
  signaling.addEventListener("end", ({ detail }) => ended(detail.reason));
  signaling.start();
  setJoining(true);
}

async function enterRoom() {
  clearTimeout(retryTimer);
  try {
    const answer = await signaling.request("join-room", { roomId, peerId, displayName, mediaState: media.state, sfu: 1 });
    entered(answer);
  } catch (error) {
    refused(error);
  }
}

function entered({ peers = [], iceServers = [], connectionMode }) {
  const again = phase === "rejoining";
  const others = peers.filter((entry) => entry.peerId !== peerId);
  phase = "joined";
  takenRetries = 0;
  ui.showStatus("connected", "Connected");
  if (!again) {
    setJoining(false);
    ui.showScreen("room");
    $("room-name").textContent = roomId;
    document.title = `${roomId} · Switchboard`;
  }
  if (others.length >= MESH_PEERS_MAX) ui.toast(`${others.length + 1} people are here. Everybody sends to everybody: quality may suffer.`);
  paths.mode = connectionMode;
  mesh.enter(others, iceServers);
  paths.entered(connectionMode);
  // A join that takes over the older connection is not announced, so the state is told by itself.
  if (again) tellMediaState();
  chat.entered();
  render();
}

function refused({ code, message }) {
  if (code === "LINK_DOWN" || phase === "ended") return;
  if (code === "PEER_ID_TAKEN") return nameTaken();
  if (RETRIED_CODES.has(code)) {
    retryTimer = setTimeout(enterRoom, TAKEN_RETRY_MS * (1 + Math.random()));
    return ui.showStatus("reconnecting", "Waiting for the server…");
  }
  if (phase === "joining") return notAdmitted(code, message);
  ended(code === "ROOM_NOT_FOUND" || code === "ROOM_CLOSED" ? "room-closed" : code, message);
}

// Our older connection may not have been found dead yet. A guest has no identity but its recovery
// token, so that is shown first; while media still flows the name is worth waiting for.
async function nameTaken() {
  const flowing = [...mesh.peers.values()].some((peer) => peer.pc?.connectionState === "connected");
  if (phase === "rejoining" && flowing && takenRetries++ < TAKEN_RETRIES_MAX) {
    const recoveryToken = signaling.previousGreeting?.recoveryToken;
    if (takenRetries === 1 && recoveryToken) {
      await signaling.request("resume", { recoveryToken }).catch(() => {});
      return enterRoom();
    }
    retryTimer = setTimeout(enterRoom, TAKEN_RETRY_MS);
    return;
  }
  peerId = ownPeerId(true);
  mesh.close();
  paths.close();
  mesh.selfId = peerId;
  enterRoom();
}

function notAdmitted(code, message) {
  if (code === "ROOM_NOT_FOUND" && roomWasGenerated && !call.roomCreated) return createRoom();
  leaveQuietly();
  const words = {
    ROOM_NOT_FOUND: `There is no room called “${roomId}”.`,
    ROOM_FULL: "This room is full.",
    ROOM_CLOSED: "This room has been closed.",
    FORBIDDEN: "You are not allowed into this room.",
  };
  backToLobby(words[code] ?? message ?? code, code === "ROOM_NOT_FOUND" || code === "ROOM_CLOSED");
}

async function createRoom() {
  try {
    const answer = await fetch("/api/rooms", {
      method: "POST",
      headers: { "Content-Type": "application/json", ...bearer() },
      body: JSON.stringify({ hostPeerId: peerId, maxParticipants: MESH_PEERS_MAX, encryption: "none" }),
    });
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.error || answer.statusText);
    call.roomCreated = true;
    roomId = body.roomId;
    remember("sessionStorage", peerKey(), peerId);
    showAddress();
    if (signaling?.state === "open") enterRoom();
    else if ($("join-form").reportValidity()) join();
  } catch (error) {
    leaveQuietly();
    backToLobby(`The room could not be created: ${error.message}.`, true);
  }
}

// ---- the link ----

function linkChanged({ state, everOpened }) {
  if (state !== "waiting") return;
  clearTimeout(retryTimer);
  if (phase === "joined") {
    phase = "rejoining";
    mesh.online = false;
    render();
  }
  if (phase === "rejoining") ui.showStatus("reconnecting", navigator.onLine ? "Reconnecting…" : "Offline");
  if (phase === "joining" && !everOpened) diagnose();
}

// A browser is not told why a WebSocket was refused; plain HTTP is. An attempt to connect is counted by the server like one
// of a Socket.IO client, which comes by HTTP.
async function diagnose() {
  failures += 1;
  const answer = await fetch(`/api/rooms/${encodeURIComponent(roomId)}`, { headers: bearer() }).catch(() => null);
  const door = answer && answer.status !== 401 && await fetch("/socket.io/?EIO=4&transport=polling", { cache: "no-store" }).catch(() => null);
  if (phase !== "joining") return;
  const limited = [answer, door].find((it) => it?.status === 429);
  if (answer?.status === 401) {
    leaveQuietly();
    backToLobby(token
      ? "The sign-in in this link is not valid any more."
      : "This server asks for a sign-in: open the call with a link that carries a token.");
  } else if (limited) {
    leaveQuietly();
    backToLobby(`The server has seen too many attempts from your address. Try again in ${waitOf(limited)}.`);
  } else if (door?.ok && failures >= FAILURES_MAX) {
    leaveQuietly();
    backToLobby(`The server answers, but refuses the WebSocket of this page. Pages of ${location.origin} may not be allowed (setting cors.origins), or a proxy in between passes no WebSockets on.`);
  } else {
    ui.showStatus("reconnecting", "Trying again…");
    notice(answer
      ? "The server answers, but the WebSocket cannot be opened. Trying again…"
      : "The server cannot be reached. Trying again…");
  }
}

function waitOf(answer) {
  const seconds = Number(answer.headers.get("Retry-After"));
  if (!seconds) return "some minutes";
  return seconds < 90 ? `${seconds} seconds` : `${Math.ceil(seconds / 60)} minutes`;
}

function receive(message) {
  if (message.roomId && message.roomId !== roomId) return;
  const known = mesh.peers.get(message.peerId);
  if (message.fromPeerId === "sfu") return link.receive(message);
  switch (message.type) {
    case "connection-mode-changed":
      paths.setMode(message.connectionMode);
      return render();
    case "offer":
    case "answer":
    case "ice-candidate":
      return mesh.signal(message);
    case "peer-joined":
      if (message.peerId === peerId) return;
      if (!known) ui.addEvent(`${message.displayName} joined`);
      mesh.arrived(message);
      return controls.arrived(message.peerId);
    case "peer-left":
      if (known) ui.addEvent(`${known.displayName} left`);
      controls.left(message.peerId);
      return mesh.remove(message.peerId);
    case "media-state-changed":
      return mesh.mediaState(message.peerId, message.mediaState, message.sfu);
    case "message":
      return message.event ? controls.receive(message) : chat.receive(message);
    case "delivered":
    case "read-receipt":
      return chat.receive(message);
    case "room-closed":
      return ended("room-closed", message.reason);
    case "error":
      // A signal to a participant who left meanwhile.
      if (message.code === "PEER_NOT_FOUND") return undefined;
      return console.warn(`server: ${message.code} ${message.error}`);
  }
}

function sendSignal(type, toPeerId, body) {
  if (phase === "joined") signaling.send(type, { roomId, fromPeerId: peerId, toPeerId, ...body });
}

function reportFailure(toPeerId, reason) {
  if (phase === "joined") signaling.send("connection-failed", { roomId, toPeerId, reason });
}

function tellMediaState() {
  if (phase === "joined") signaling.send("media-state-changed", { roomId, peerId, mediaState: media.state });
}

// ---- the end ----

function leave() {
  if (phase === "ended") return;
  signaling?.send("leave-room", { roomId, peerId });
  ended("left");
}

function leaveQuietly() {
  clearTimeout(retryTimer);
  phase = "lobby";
  mesh?.close();
  paths?.close();
  const link = signaling;
  signaling = null;
  link?.stop();
}

function ended(reason, detail) {
  if (phase === "lobby" || phase === "ended") return;
  phase = "ended";
  clearTimeout(retryTimer);
  mesh.close();
  paths.close();
  signaling.stop();
  media.stop();
  const says = {
    left: ["You left the call", `Room ${roomId}`],
    replaced: ["The call continues elsewhere", "Another tab or window joined as you, so this one stepped back.", "Use this one instead"],
    "token-expired": ["Your sign-in has expired", "Open the call again with a fresh link.", null],
    "token-revoked": ["Your sign-in is no longer valid", "Open the call again with a fresh link.", null],
    blocked: ["You are blocked", "An administrator of this server does not let you in.", null],
    "address-blocked": ["Your network is blocked", "An administrator of this server does not let it in.", null],
    removed: ["You were removed from the call", "The host or an administrator ended your connection.", null],
    "room-closed": ["The room was closed", detail || "Everybody has been sent home.", null],
  }[reason] ?? ["The call ended", detail || String(reason)];
  const [title, text, again] = says;
  ui.showEnded({ title, text, again });
}

function backToLobby(text, mayCreate = false) {
  setJoining(false);
  ui.showScreen("join");
  notice(text);
  $("create-room").hidden = !mayCreate;
}

function notice(text) {
  $("join-notice-text").textContent = text;
  $("join-notice").hidden = !text;
  $("create-room").hidden = true;
}

function setJoining(joining) {
  $("join-button").disabled = joining;
  $("join-button").textContent = joining ? "Joining…" : "Join call";
  if (joining) notice("");
}

// ---- showing ----

const notes = { new: "Connecting…", connecting: "Connecting…", disconnected: "Reconnecting…", failed: "Reconnecting…", closed: "" };

function render() {
  const me = { id: peerId, name: displayName, self: true, mediaState: media.state, camera: media.video, hand: controls.isRaised };
  const others = mesh ? [...mesh.peers.values()].map((peer) => {
    const { audio, camera, screen, state } = paths.view(peer);
    const { peerId: id, displayName: name, mediaState } = peer;
    return { id, name, self: false, mediaState, audio, camera, screen, note: notes[state] ?? "", hand: controls.hands.has(id) };
  }) : [];
  showMode();
  ui.renderTiles([...others, me]);
  ui.renderPeople([me, ...others]);
}

function showMode() {
  const isServed = [...(mesh?.peers.values() ?? [])].some((peer) => peer.via === "sfu");
  $("mode").hidden = !isServed;
}

function renderPreview() {
  ui.showPicture($("preview"), $("preview-video"), media.video);
  $("preview-note").hidden = Boolean(media.video);
  ui.paintAvatar($("preview-avatar"), $("name").value || "?");
}

// Returns how many others are there to read it.
function sendChat(text) {
  const line = String(text).trim();
  if (!line || !signaling) return 0;
  chat.send(line);
  return mesh.peers.size;
}

setInterval(() => {
  let loudest = { level: SPEAKING_LEVEL, id: null };
  for (const peer of mesh?.peers.values() ?? []) {
    const level = peer.mediaState.audio ? paths.level(peer) : 0;
    ui.showSpeaking(peer.peerId, level > SPEAKING_LEVEL);
    if (level > loudest.level) loudest = { level, id: peer.peerId };
  }
  controls.speaking(loudest.id);
}, SPEAKING_EVERY_MS);
setInterval(() => paths?.stats(), FRAMES_EVERY_MS);

// ---- small things ----

function randomWord(length) {
  const letters = "abcdefghijkmnpqrstuvwxyz23456789";
  return Array.from(crypto.getRandomValues(new Uint8Array(length)), (byte) => letters[byte % 32]).join("");
}

// Text as the server takes it for a name: without control characters, and cut before it gets too long.
function fitting(text) {
  let kept = (text ?? "").replace(/\p{Cc}/gu, "").trim();
  while (new TextEncoder().encode(kept).length > NAME_BYTES_MAX) kept = [...kept].slice(0, -1).join("");
  return kept;
}

// One per tab and room, kept over reloads.
function ownPeerId(fresh = false) {
  const kept = fresh ? null : remembered("sessionStorage", peerKey());
  const id = kept || `peer-${randomWord(12)}`;
  remember("sessionStorage", peerKey(), id);
  return id;
}

function peerKey() {
  return `switchboard.peer.${roomId}`;
}

// Storage may be denied; then nothing is remembered.
function remembered(storage, key) {
  try { return window[storage].getItem(key); } catch { return null; }
}

function remember(storage, key, value) {
  try { window[storage].setItem(key, value); } catch { /* as above */ }
}

// The token of the link, which does not stay in the address: people share that, and servers log it. A reload finds it in
// the tab's own storage.
function ownToken() {
  // Text that cannot be a token is changed so that headers and subprotocols take it, and the server refuses it.
  const given = params.get("token")?.replace(/[^\w.~+-]/g, "-");
  if (!given) return remembered("sessionStorage", "switchboard.token");
  remember("sessionStorage", "switchboard.token", given);
  const url = new URL(location.href);
  url.searchParams.delete("token");
  history.replaceState(null, "", url);
  return given;
}

function bearer() {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

function showAddress() {
  const url = new URL(location.href);
  url.searchParams.set("room", roomId);
  history.replaceState(null, "", url);
  $("join-room").textContent = $("room-name").textContent = roomId;
}

// The link for others carries the room and nothing of ours.
function inviteLink() {
  const url = new URL(location.pathname, location.href);
  url.searchParams.set("room", roomId);
  return url.href;
}

async function copyLink(button) {
  const label = button.querySelector("span");
  const before = (button.dataset.label ??= label.textContent);
  label.textContent = (await ui.copyText(inviteLink())) ? "Copied" : "Could not copy";
  setTimeout(() => { label.textContent = before; }, 2_000);
}

// ---- wiring ----

function setMedia(wanted) {
  return media.set(wanted);
}

for (const button of document.querySelectorAll("[data-media]")) {
  button.addEventListener("click", async () => {
    button.disabled = true;
    await setMedia({ [button.dataset.media]: button.getAttribute("aria-pressed") !== "true" });
    button.disabled = false;
    button.focus();
  });
}
for (const button of document.querySelectorAll("[data-copy-link]")) button.addEventListener("click", () => copyLink(button));
media.addEventListener("change", () => {
  ui.showMedia(media.state);
  tellMediaState();
  renderPreview();
  if (phase !== "lobby") render();
});
media.addEventListener("problem", ({ detail }) => {
  if (phase !== "lobby") return ui.toast(detail.text);
  $("device-hint").textContent = detail.text;
  $("device-hint").hidden = false;
});
$("name").addEventListener("input", renderPreview);
$("join-form").addEventListener("submit", (event) => {
  event.preventDefault();
  displayName = fitting($("name").value) || "Guest";
  remember("localStorage", "switchboard.name", displayName);
  join();
});
$("create-room").addEventListener("click", () => {
  displayName = fitting($("name").value) || "Guest";
  createRoom();
});
$("chat-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sendChat($("chat-text").value);
  $("chat-text").value = "";
});
// After the handlers of the panel, which may have opened the chat.
for (const event of ["click", "focusin", "visibilitychange"]) {
  document.addEventListener(event, () => !document.hidden && ui.panelShown() === "chat" && chat.read());
}
$("leave").addEventListener("click", leave);
$("ended-again").addEventListener("click", () => location.reload());
addEventListener("pagehide", () => {
  signaling?.send("leave-room", { roomId, peerId });
  signaling?.stop();
});
addEventListener("pageshow", (event) => event.persisted && location.reload());

const call = {
  get phase() { return phase; },
  get roomId() { return roomId; },
  get peerId() { return peerId; },
  get displayName() { return displayName; },
  get mediaState() { return media.state; },
  // Everybody else in the room; framesDecoded is at most two seconds old, stats() is fresh.
  peers: () => [...(mesh?.peers.values() ?? [])].map((peer) => ({
    peerId: peer.peerId,
    displayName: peer.displayName,
    connectionState: paths.view(peer).state,
    via: peer.via,
    sfu: peer.sfu,
    hasDirectConnection: Boolean(peer.pc),
    iceConnectionState: peer.pc?.iceConnectionState ?? "new",
    signalingState: peer.pc?.signalingState ?? "stable",
    mediaState: peer.mediaState,
    framesDecoded: peer.framesDecoded,
    dataChannelState: peer.channel?.readyState ?? "none",
    hasScreen: Boolean(paths.view(peer).screen && peer.mediaState.screen),
  })),
  // [{peerId, displayName, framesDecoded, screenFramesDecoded, bytesReceived}]
  stats: async () => (paths ? paths.stats() : []),
  // "p2p" or "sfu": the room's; `via` of a peer is the way that its media take.
  get mode() { return paths?.mode ?? "p2p"; },
  get link() { return link; },
  sendChat,
  messages: chat.messages,
  setMedia,
  leave,
  // [{direction: "in" | "out", type, at}]
  get log() { return signaling?.log ?? []; },
};
window.call = call;

showAddress();
ui.wirePanel();
ui.showMedia(media.state);
$("name").value = displayName;
const devices = { audio: params.get("audio") !== "0", video: params.get("video") !== "0" };
if (params.get("autojoin") === "1") {
  displayName ||= "Guest";
  ui.showScreen("room");
  await setMedia(devices);
  join();
} else {
  ui.showScreen("join");
  renderPreview();
  (displayName ? $("join-button") : $("name")).focus();
  setMedia(devices);
}
