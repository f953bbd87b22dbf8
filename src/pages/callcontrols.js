// The controls of a call beside its media: keys, raised hands, the tile that is large, the choice of devices, and how good
// each connection is.

import * as ui from "./ui.js";

const { $ } = ui;
const QUALITY_EVERY_MS = 2_000;
// A speaker becomes the large tile after this time, so that a cough does not.
const SPEAKING_MS = 900;
const DEVICES = { audio: "audioinput", video: "videoinput", output: "audiooutput" };

export class Controls {
  // peerIds with a raised hand.
  hands = new Set();
  // "good", "fair" or "poor" by peerId.
  quality = new Map();

  #call;
  #speaking = { id: null, since: 0 };
  #before = new Map();

  // `call` has mesh, media, peerId, tell(toPeerId, event, data), leave(), render().
  constructor(call) {
    this.#call = call;
    addEventListener("keydown", (event) => this.#key(event));
    $("hand").addEventListener("click", () => this.raise(!this.isRaised));
    $("view").addEventListener("click", () => this.#setView(ui.view.name === "grid" ? "speaker" : "grid"));
    $("devices-open").addEventListener("click", () => this.#openDevices());
    for (const kind of ["audio", "video"]) {
      $(`device-${kind}`).addEventListener("change", ({ target }) => call.media.choose(kind, target.value));
    }
    $("device-output").addEventListener("change", ({ target }) => ui.setSpeaker(target.value));
    $("stage").addEventListener("click", ({ target }) => {
      const tile = target.closest("[data-pin]")?.closest(".tile");
      if (!tile) return;
      ui.view.pinned = ui.view.pinned === tile.dataset.id ? null : tile.dataset.id;
      call.render();
    });
    setInterval(() => this.#measure(), QUALITY_EVERY_MS);
  }

  get isRaised() {
    return this.hands.has(this.#call.peerId);
  }

  raise(isRaised) {
    const { peerId, mesh, tell, render } = this.#call;
    this.hands[isRaised ? "add" : "delete"](peerId);
    $("hand").setAttribute("aria-pressed", String(isRaised));
    for (const to of mesh?.peers.keys() ?? []) tell(to, "hand", isRaised);
    render();
  }

  // Events of one member for another that are stored nowhere.
  receive({ fromPeerId, event, data }) {
    if (event !== "hand") return;
    this.hands[data === true ? "add" : "delete"](fromPeerId);
    const name = this.#call.mesh.peers.get(fromPeerId)?.displayName;
    if (data === true && name) ui.toast(`${name} raised a hand.`);
    this.#call.render();
  }

  arrived(peerId) {
    if (this.isRaised) this.#call.tell(peerId, "hand", true);
  }

  left(peerId) {
    this.hands.delete(peerId);
    this.quality.delete(peerId);
    if (ui.view.pinned === peerId) ui.view.pinned = null;
  }

  // Who speaks now, by peerId; null if nobody does.
  speaking(id) {
    const now = Date.now();
    if (this.#speaking.id !== id) this.#speaking = { id, since: now };
    if (!id || ui.view.speaker === id || now - this.#speaking.since < SPEAKING_MS) return;
    ui.view.speaker = id;
    if (ui.view.name === "speaker") this.#call.render();
  }

  #setView(name) {
    ui.view.name = name;
    ui.view.pinned = null;
    $("view").setAttribute("aria-pressed", String(name === "speaker"));
    this.#call.render();
  }

  #key(event) {
    const { target, key, ctrlKey, metaKey, altKey } = event;
    if (ctrlKey || metaKey || altKey || $("room").hidden || target.closest("input, textarea, select, dialog")) return;
    const press = (selector) => () => document.querySelector(selector).click();
    const act = {
      m: press(".toolbar [data-media=audio]"),
      v: press(".toolbar [data-media=video]"),
      s: press(".toolbar [data-media=screen]"),
      h: press("#hand"),
      g: press("#view"),
      p: press("[data-panel=people]"),
      c: press("[data-panel=chat]"),
      d: press("#devices-open"),
    }[key.toLowerCase()];
    if (!act) return;
    event.preventDefault();
    act();
  }

  async #openDevices() {
    const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
    for (const [kind, name] of Object.entries(DEVICES)) {
      const found = all.filter((device) => device.kind === name);
      const chosen = kind === "output" ? ui.view.output : this.#call.media.chosen(kind);
      $(`device-${kind}`).replaceChildren(...found.map(({ deviceId, label }, index) => ui.element("option", {
        value: deviceId, textContent: label || `Device ${index + 1}`, selected: deviceId === chosen })));
      $(`device-${kind}`).disabled = !found.length;
    }
    $("devices").showModal();
  }

  // From what was lost and how long packets take since the last look.
  async #measure() {
    for (const { peerId, pc } of this.#call.mesh?.peers.values() ?? []) {
      if (!pc) {
        this.quality.delete(peerId);
        continue;
      }
      const now = { lost: 0, received: 0, rtt: 0 };
      for (const report of (await pc.getStats()).values()) {
        if (report.type === "inbound-rtp") {
          now.lost += report.packetsLost ?? 0;
          now.received += report.packetsReceived ?? 0;
        } else if (report.type === "candidate-pair" && report.nominated) {
          now.rtt = report.currentRoundTripTime ?? 0;
        }
      }
      const before = this.#before.get(peerId) ?? now;
      this.#before.set(peerId, now);
      const [lost, received] = [now.lost - before.lost, now.received - before.received];
      const share = lost > 0 ? lost / (lost + received) : 0;
      const isCut = pc.connectionState !== "connected";
      this.quality.set(peerId, isCut || share > 0.08 || now.rtt > 0.5 ? "poor" : share > 0.02 || now.rtt > 0.25 ? "fair" : "good");
    }
    ui.showQuality(this.quality);
  }
}
