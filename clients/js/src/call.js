// Connections to the members of a room by perfect negotiation: a newcomer offers to each member, and of two offers that cross
// that of the one with the greater peerId gives way. A peer whose page is another one is met anew.

import { Handlers, newId } from "./shared.js";

export class Call {
  // Connections by peerId.
  peers = new Map();

  #room;
  #options;
  #handlers = new Handlers();
  #id = newId();
  #unlisten;

  constructor(room, options = {}) {
    this.#room = room;
    this.#options = options;
    this.#unlisten = [
      room.when("joined", () => this.#joined()),
      room.when("members", (members) => {
        for (const peerId of this.peers.keys()) if (!members.has(peerId)) this.#part(peerId);
      }),
      room.when("left", () => this.close()),
      ...["offer", "answer"].map((type) => room.when(type, (event) => this.#described(event.fromPeerId, event[type]))),
      room.when("ice-candidate", ({ fromPeerId, candidate }) => this.#candidate(fromPeerId, candidate)),
    ];
    if (room.isJoined) this.#joined();
  }

  // Calls a handler for "track" (peerId, stream, track), "peers" (peers) or "error" (error).
  when(name, handler) {
    return this.#handlers.add(name, handler);
  }

  // Sends other tracks from now on; null sends none.
  setStream(stream) {
    this.#options.stream = stream;
    for (const { pc } of this.peers.values()) this.#addTracks(pc);
  }

  close() {
    this.#unlisten.forEach((unlisten) => unlisten());
    for (const peerId of this.peers.keys()) this.#part(peerId);
  }

  // Signals may be lost with the connection, also after a recovery that the other side does not notice.
  #joined() {
    for (const peerId of this.#room.members.keys()) {
      const peer = this.peers.get(peerId);
      if (!peer) this.#meet(peerId);
      else if (peer.pc.connectionState !== "connected") peer.pc.restartIce();
    }
  }

  #addTracks(pc) {
    const { stream } = this.#options;
    for (const kind of ["audio", "video"]) {
      const track = stream?.getTracks().find((it) => it.kind === kind) ?? null;
      const known = pc.getTransceivers().find(({ receiver }) => receiver.track.kind === kind);
      if (!known) {
        pc.addTransceiver(track ?? kind, { direction: track ? "sendrecv" : "recvonly", streams: track ? [stream] : [] });
      } else {
        if (track) known.direction = "sendrecv";
        known.sender.replaceTrack(track);
      }
    }
  }

  #meet(peerId) {
    const room = this.#room;
    const pc = new RTCPeerConnection({ iceServers: room.iceServers, ...this.#options.config });
    const peer = { pc, isPolite: room.peerId > peerId, describe: () => this.#signal(peerId, pc.localDescription) };
    this.peers.set(peerId, peer);
    pc.onnegotiationneeded = () => this.#attempt(async () => {
      peer.isOffering = true;
      await pc.setLocalDescription().finally(() => (peer.isOffering = false));
      peer.describe();
    });
    pc.onicecandidate = ({ candidate }) => {
      if (candidate) room.signal(peerId, "ice-candidate", { ...candidate.toJSON(), call: this.#id });
    };
    pc.ontrack = ({ streams, track }) => this.#handlers.emit("track", peerId, streams[0], track);
    pc.onconnectionstatechange = () => {
      if (pc.connectionState === "failed") pc.restartIce();
      this.#handlers.emit("peers", this.peers);
    };
    (this.#options.setup ?? (() => this.#addTracks(pc)))(pc, peerId);
    this.#handlers.emit("peers", this.peers);
    return peer;
  }

  #part(peerId) {
    this.peers.get(peerId).pc.close();
    this.peers.delete(peerId);
    this.#handlers.emit("peers", this.peers);
  }

  #signal(peerId, { type, sdp }) {
    this.#room.signal(peerId, type, { type, sdp, call: this.#id });
  }

  #described(peerId, description) {
    const { type, call } = description;
    if ((this.peers.get(peerId)?.remote ?? call) !== call) this.#part(peerId);
    let peer = this.peers.get(peerId);
    if (!peer && type !== "offer") return;
    peer ??= this.#meet(peerId);
    const { pc } = peer;
    const collides = type === "offer" && (peer.isOffering || pc.signalingState !== "stable");
    peer.remote = call;
    peer.ignores = collides && !peer.isPolite;
    // The other side may have missed the offer that prevails.
    if (peer.ignores) return pc.localDescription && peer.describe();
    this.#attempt(async () => {
      await pc.setRemoteDescription(description);
      if (type === "offer") {
        await pc.setLocalDescription();
        peer.describe();
      }
    });
  }

  #candidate(peerId, candidate) {
    const peer = this.peers.get(peerId);
    if (!peer || peer.remote !== candidate?.call) return;
    this.#attempt(() => peer.pc.addIceCandidate(candidate).catch((error) => {
      if (!peer.ignores) throw error;
    }));
  }

  async #attempt(act) {
    try {
      await act();
    } catch (error) {
      this.#handlers.emit("error", error);
    }
  }
}
