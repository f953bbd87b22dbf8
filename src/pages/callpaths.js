// The way that media take between this page and each other one: from peer to peer, or by the media server.
//
// The server decides for the room ("connection-mode-changed"). `Paths` carries it out without a gap: the former way stays open
// until pictures or sound have come by the new one, here and at the other side. Peers that know no media server stay in the
// mesh. If the media server cannot be reached, all stay in the mesh, and the others are told.
//
// Events: "change", "fallback" {reason} in words for people.

const TICK_MS = 100;
// A peer whose other side does not say that it has changed, too, is not waited for longer.
const OTHER_SIDE_MS = 6_000;
const SOUND_PACKETS = 15;

export class Paths extends EventTarget {
  mode = "p2p";

  #mesh;
  #link;
  #report;
  #shown;
  #isUsable = true;
  #ticking = 0;

  // `report(toPeerId, reason)` tells the server of a connection that cannot be made; `shown(peerId)` are the tracks that are
  // shown of a peer just now.
  constructor({ mesh, link, report, shown }) {
    super();
    this.#shown = shown;
    this.#mesh = mesh;
    this.#link = link;
    this.#report = report;
    mesh.usesServer = (peer) => this.#wanted(peer) === "sfu";
    mesh.addEventListener("change", () => this.#settle());
    mesh.addEventListener("unreachable", ({ detail }) => detail.sfu && this.#report(detail.peerId, "ice-failed"));
    link.addEventListener("change", () => this.#changed());
    link.addEventListener("failed", ({ detail }) => this.#failed(detail.reason));
  }

  // The mode that the room is in, when it was entered or later.
  setMode(mode) {
    this.mode = mode === "sfu" ? "sfu" : "p2p";
    this.#settle();
  }

  // The room was entered, again perhaps: it has been told that this page can use the media server.
  entered(mode) {
    this.#isUsable = true;
    this.setMode(mode);
    if (this.mode === "sfu") this.#link.returned();
  }

  close() {
    clearInterval(this.#ticking);
    this.#ticking = 0;
    this.#link.close();
  }

  // The tracks and the state of a peer's media, by the way that they take now.
  view(peer) {
    if (peer.via !== "sfu") {
      return { via: "p2p", audio: peer.audio, camera: peer.camera, screen: peer.screen, state: peer.pc?.connectionState ?? "new" };
    }
    const [audio, camera, screen] = ["microphone", "camera", "screen"].map((source) => this.#link.track(peer.peerId, source));
    return { via: "sfu", audio, camera, screen, state: this.#link.pc?.connectionState ?? "new" };
  }

  level(peer) {
    return peer.via === "sfu" ? this.#link.level(peer.peerId) : peer.level();
  }

  // As `Mesh.stats`, by whichever way.
  async stats() {
    const [direct, served] = await Promise.all([this.#mesh.stats(), this.#link.measure()]);
    const none = { framesDecoded: 0, screenFramesDecoded: 0, bytesReceived: 0 };
    return direct.map((stats) => {
      const peer = this.#mesh.peers.get(stats.peerId);
      if (peer?.via !== "sfu") return stats;
      const { framesDecoded, screenFramesDecoded, bytesReceived } = served.get(stats.peerId) ?? none;
      peer.framesDecoded = framesDecoded;
      return { ...stats, framesDecoded, screenFramesDecoded, bytesReceived };
    });
  }

  #wanted(peer) {
    return this.mode === "sfu" && this.#isUsable && peer.sfu ? "sfu" : "p2p";
  }

  // Begins what has to change, and looks until it is done.
  #settle() {
    const peers = [...this.#mesh.peers.values()];
    const served = peers.filter((peer) => this.#wanted(peer) === "sfu");
    // A peer that has just come has no way yet; it takes the room's at once.
    for (const peer of served) if (!peer.via && !peer.pc) peer.via = "sfu";
    if (served.length && !this.#link.pc) this.#link.open(this.#mesh.iceServers, served.length);
    for (const peer of peers) {
      if (this.#wanted(peer) === "p2p") {
        peer.via ??= "p2p";
        if (peer.via === "sfu" && !peer.pc) peer.reopen();
      }
    }
    if (!this.#isDone(peers) && !this.#ticking) this.#ticking = setInterval(() => this.#tick(), TICK_MS);
  }

  #isDone(peers) {
    const isSettled = (peer) => peer.via === this.#wanted(peer) && !(peer.via === "sfu" && peer.pc);
    const needsLink = peers.some((peer) => this.#wanted(peer) === "sfu");
    return peers.every(isSettled) && (needsLink || !this.#link.pc);
  }

  async #tick() {
    const [direct, served] = await Promise.all([this.#mesh.stats(), this.#link.measure()]);
    const peers = [...this.#mesh.peers.values()];
    const now = Date.now();
    let changed = false;
    for (const peer of peers) {
      const wanted = this.#wanted(peer);
      const frames = direct.find((stats) => stats.peerId === peer.peerId);
      if (peer.via !== wanted && (wanted === "sfu" ? hasCome(peer, served.get(peer.peerId)) : hasComeDirectly(peer, frames))) {
        peer.via = wanted;
        peer.changedAt = now;
        changed = true;
      }
      // What was told in this turn has to be on its way before the connection is closed.
      if (peer.via === wanted && peer.toldVia !== wanted && this.#isShown(peer) && peer.tellWay(wanted)) {
        peer.toldVia = wanted;
      } else if (peer.via === "sfu" && wanted === "sfu" && peer.pc && this.#isOver(peer, now)) {
        peer.rest();
        changed = true;
      }
    }
    const isServed = peers.some((peer) => peer.via === "sfu" || this.#wanted(peer) === "sfu" || !this.#isOver(peer, now));
    if (!isServed) this.#link.close();
    if (this.#isDone(peers)) {
      clearInterval(this.#ticking);
      this.#ticking = 0;
    }
    if (changed) this.#changed();
  }

  // Whether the tiles of a peer show what comes by its present way.
  #isShown(peer) {
    const { camera, screen } = this.view(peer);
    const shown = this.#shown(peer.peerId);
    const { video, screen: shares } = peer.mediaState;
    return (!video || shown.camera === camera) && (!shares || shown.screen === screen);
  }

  // Whether neither side needs the former way any more.
  #isOver(peer, now) {
    const isAgreed = peer.toldVia === peer.via && (peer.otherVia === peer.via || peer.channel?.readyState === "closed");
    return isAgreed || now - (peer.changedAt ?? 0) > OTHER_SIDE_MS;
  }

  #failed(reason) {
    if (this.mode !== "sfu") return;
    this.#isUsable = false;
    this.#report("sfu", "unreachable");
    this.dispatchEvent(new CustomEvent("fallback", { detail: { reason } }));
    this.#settle();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

// Whether a peer's media have come by the server: pictures if it sends any, or else sound.
function hasCome(peer, measured) {
  const { camera = 0, screen = 0, microphone = 0 } = measured?.fresh ?? {};
  if (peer.mediaState.screen && !screen) return false;
  if (peer.mediaState.video) return camera > 0;
  return peer.mediaState.audio ? microphone > SOUND_PACKETS : Boolean(measured);
}

function hasComeDirectly(peer, stats) {
  if (peer.pc?.connectionState !== "connected") return false;
  if (peer.mediaState.screen && !stats?.screenFramesDecoded) return false;
  return !peer.mediaState.video || stats?.framesDecoded > 0;
}
