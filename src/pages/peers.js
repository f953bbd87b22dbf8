// The media mesh: one RTCPeerConnection to everybody else in the room.
//
// A `Mesh` is told who is here and hands signals in and out; it does not know how they travel.
// Whoever comes later offers; after that either side may, by "perfect negotiation": both run the
// same code, and when two offers cross, the peer with the smaller peerId yields. A lost signaling
// link touches no connection; a failed connection restarts ICE and, failing that, starts over.
//
// Peers whose media go by the media server have no connection here (`usesServer`, see `callpaths.js`).
//
// Events: "change" when something to show changed, "unreachable" (a peer).

const OFFER_WAIT_MS = 5_000;
const RESEND_FIRST_MS = 5_000;
const RESEND_MAX_MS = 30_000;
const DISCONNECTED_GRACE_MS = 4_000;
const ABSENT_GRACE_MS = 15_000;
const RESTARTS_MAX = 2;

export class Mesh extends EventTarget {
  iceServers = [];
  // True while signals reach the room.
  online = false;
  peers = new Map();
  // Whether media to and from a peer go by the media server.
  usesServer = () => false;

  // `send(type, toPeerId, body)` carries a signal; `media` holds the tracks to publish.
  constructor({ selfId, media, send }) {
    super();
    this.selfId = selfId;
    this.media = media;
    this.send = send;
    media.addEventListener("change", () => this.#publish());
  }

  // The room as the server lists it after (re)joining. Known peers keep their connection.
  enter(listed, iceServers) {
    this.online = true;
    this.iceServers = iceServers;
    const present = new Set(listed.map((entry) => entry.peerId));
    for (const peer of [...this.peers.values()]) {
      // After a server restart everybody comes back one by one: absent is not yet gone.
      if (!present.has(peer.peerId)) peer.expire(() => this.remove(peer.peerId));
    }
    for (const entry of listed) {
      const known = this.peers.get(entry.peerId);
      if (known) known.returned(entry);
      else this.#admit(entry);
    }
    this.#changed();
  }

  // Somebody came after us: their offer is on its way.
  arrived(entry) {
    const known = this.peers.get(entry.peerId);
    if (known) known.returned(entry);
    else this.#admit(entry, true);
    this.#changed();
  }

  remove(peerId) {
    this.peers.get(peerId)?.close();
    this.peers.delete(peerId);
    this.#tune();
    this.#changed();
  }

  mediaState(peerId, mediaState, sfu) {
    const peer = this.peers.get(peerId);
    if (!peer) return;
    peer.mediaState = mediaState;
    peer.sfu = Boolean(sfu);
    this.#changed();
  }

  // An `offer`, `answer` or `ice-candidate` from the room.
  signal(message) {
    this.peers.get(message.fromPeerId)?.signal(message);
  }

  async stats() {
    return Promise.all([...this.peers.values()].map((peer) => peer.stats()));
  }

  close() {
    this.online = false;
    for (const peerId of [...this.peers.keys()]) this.remove(peerId);
  }

  // A newcomer offers, unless its media go by the media server.
  #admit(entry, isNewcomer = false) {
    const peer = new Peer(this, entry);
    this.peers.set(entry.peerId, peer);
    if (!this.usesServer(peer)) {
      peer.via = "p2p";
      if (isNewcomer) peer.awaitOffer();
      else peer.connect();
    }
    this.#tune();
    return peer;
  }

  #publish() {
    for (const peer of this.peers.values()) peer.publish();
  }

  // Everybody uploads once per other peer: the more there are, the less each gets.
  #tune() {
    const count = this.peers.size;
    this.cameraBitrate = count <= 2 ? 1_500_000 : count <= 4 ? 700_000 : 300_000;
    for (const peer of this.peers.values()) peer.tune();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }
}

class Peer {
  pc = null;
  channel = null;
  audio = null;
  camera = null;
  screen = null;
  framesDecoded = 0;
  // "p2p" or "sfu": the way by which its media come, the one that it was told, and the one by which ours come to it.
  via = null;
  toldVia = null;
  otherVia = null;

  #mesh;
  #polite;
  #makingOffer = false;
  #ignoringOffer = false;
  #remoteSession = null;
  #screenSlot = null;
  #restarts = 0;
  #isReopening = false;
  #turn = Promise.resolve();
  #resendTimer = 0;
  #restartTimer = 0;
  #offerTimer = 0;
  #absentTimer = 0;

  constructor(mesh, { peerId, displayName, mediaState, sfu }) {
    this.#mesh = mesh;
    this.peerId = peerId;
    this.displayName = displayName || peerId;
    this.mediaState = mediaState || { audio: false, video: false, screen: false };
    this.sfu = Boolean(sfu);
    this.#polite = mesh.selfId < peerId;
  }

  // Opens a connection and offers.
  connect() {
    const pc = this.#open();
    pc.addTransceiver("audio", { direction: "sendrecv" });
    pc.addTransceiver("video", { direction: "sendrecv" });
    this.#openChannel(pc);
    this.publish();
  }

  // The newcomer offers; one that does not (another kind of client) is offered to.
  awaitOffer() {
    this.#offerTimer = setTimeout(() => this.pc || this.connect(), OFFER_WAIT_MS);
  }

  // Seen in the room again after one of us had lost the link.
  returned({ displayName, mediaState, sfu }) {
    clearTimeout(this.#absentTimer);
    this.displayName = displayName || this.displayName;
    this.mediaState = mediaState || this.mediaState;
    this.sfu = Boolean(sfu);
    if (!this.pc || this.#mesh.usesServer(this)) return;
    // The other side saw us leave and hung up; it waits for a newcomer's offer.
    if (this.channel?.readyState === "closed") return this.connect();
    if (this.pc.signalingState === "have-local-offer") return this.#sendOffer(this.pc, RESEND_FIRST_MS);
    if (this.pc.connectionState !== "connected") this.#restart();
  }

  // The connection is made anew after the media went by the media server: nobody is a newcomer then.
  reopen() {
    if (this.#isReopening) return;
    this.#isReopening = true;
    this.otherVia = this.toldVia = null;
    if (this.#polite) this.awaitOffer();
    else this.connect();
  }

  // The media go by the media server on both sides: the connection is not needed any more.
  rest() {
    this.close();
    this.channel = this.audio = this.camera = this.screen = null;
    this.otherVia = this.toldVia = null;
  }

  // Tells the other side by which way its media are shown here. Returns whether that could be sent.
  tellWay(via) {
    if (this.channel?.readyState !== "open") return false;
    this.channel.send(JSON.stringify({ via }));
    return true;
  }

  expire(gone) {
    clearTimeout(this.#absentTimer);
    this.#absentTimer = setTimeout(gone, ABSENT_GRACE_MS);
  }

  // Signals of one peer are handled one after another, in the order they came.
  signal(message) {
    this.#turn = this.#turn.then(() => this.#handle(message)).catch((error) => {
      // The participant has left meanwhile.
      if (!this.pc || this.pc.signalingState === "closed") return;
      console.warn(`signal from ${this.peerId} was not usable:`, error);
    });
  }

  // Puts the local tracks into their slots. Changing the screen slot's direction is what makes
  // the browser ask for a renegotiation; microphone and camera never need one.
  async publish() {
    const pc = this.pc;
    if (!pc) return;
    const { media } = this.#mesh;
    const [audio, camera, spare] = slots(pc);
    await Promise.all([fill(audio, media.audio), fill(camera, media.video)]);
    this.#screenSlot ??= spare;
    if (this.#screenSlot) {
      await fill(this.#screenSlot, media.screen);
      this.#screenSlot.direction = media.screen ? "sendrecv" : "recvonly";
    } else if (media.screen) {
      this.#screenSlot = pc.addTransceiver(media.screen, { direction: "sendrecv" });
    }
    this.tune();
  }

  async tune() {
    const camera = this.pc && slots(this.pc)[1];
    const parameters = camera?.sender.getParameters();
    if (!parameters?.encodings?.length) return;
    parameters.encodings[0].maxBitrate = this.#mesh.cameraBitrate;
    // Fails when a newer call overtook this one, and that one carries the newer value.
    await camera.sender.setParameters(parameters).catch(() => {});
  }

  async stats() {
    const videos = this.pc ? slots(this.pc).slice(1).filter(Boolean) : [];
    const received = { framesDecoded: 0, screenFramesDecoded: 0, bytesReceived: 0 };
    const [camera] = videos;
    for (const report of this.pc ? (await this.pc.getStats()).values() : []) {
      if (report.type !== "inbound-rtp") continue;
      received.bytesReceived += report.bytesReceived || 0;
      if (report.kind !== "video") continue;
      const key = report.mid === camera?.mid ? "framesDecoded" : "screenFramesDecoded";
      received[key] += report.framesDecoded || 0;
    }
    this.framesDecoded = received.framesDecoded;
    return { peerId: this.peerId, displayName: this.displayName, ...received };
  }

  // The loudness heard just now, 0 to 1.
  level() {
    const audio = this.pc && slots(this.pc)[0];
    const [source] = audio?.receiver.getSynchronizationSources() ?? [];
    return source?.audioLevel ?? 0;
  }

  close() {
    for (const timer of [this.#resendTimer, this.#restartTimer, this.#offerTimer, this.#absentTimer]) clearTimeout(timer);
    this.pc?.close();
    this.pc = null;
  }

  #open() {
    clearTimeout(this.#offerTimer);
    clearTimeout(this.#resendTimer);
    clearTimeout(this.#restartTimer);
    this.pc?.close();
    const pc = new RTCPeerConnection({ iceServers: this.#mesh.iceServers, bundlePolicy: "max-bundle" });
    this.pc = pc;
    this.channel = this.audio = this.camera = this.screen = this.toldVia = null;
    this.#screenSlot = this.#remoteSession = null;
    this.#makingOffer = this.#ignoringOffer = this.#isReopening = false;
    pc.onnegotiationneeded = () => this.#offer(pc);
    pc.onicecandidate = ({ candidate }) => {
      if (candidate?.candidate) this.#mesh.send("ice-candidate", this.peerId, { candidate: candidate.toJSON() });
    };
    pc.ontrack = ({ track, transceiver }) => this.#received(pc, track, transceiver);
    pc.ondatachannel = ({ channel }) => this.#useChannel(channel);
    pc.onconnectionstatechange = () => this.#connectionChanged(pc);
    pc.oniceconnectionstatechange = () => this.#show();
    return pc;
  }

  #openChannel(pc) {
    this.#useChannel(pc.createDataChannel("chat", { negotiated: true, id: 0 }));
  }

  #useChannel(channel) {
    if (channel.label !== "chat") return;
    this.channel = channel;
    channel.onopen = channel.onclose = () => this.#show();
    channel.onmessage = ({ data }) => {
      const via = wayOf(data);
      if (via) this.otherVia = via;
    };
  }

  #received(pc, track, transceiver) {
    const slot = track.kind === "audio" ? "audio" : transceiver === slots(pc)[1] ? "camera" : "screen";
    this[slot] = track;
    track.onunmute = track.onmute = () => this.#show();
    this.#show();
  }

  async #offer(pc) {
    try {
      this.#makingOffer = true;
      await pc.setLocalDescription();
      if (pc === this.pc && pc.localDescription.type === "offer") this.#sendOffer(pc, RESEND_FIRST_MS);
    } catch (error) {
      if (pc.signalingState !== "closed") console.warn(`no offer to ${this.peerId}:`, error);
    } finally {
      if (pc === this.pc) this.#makingOffer = false;
    }
  }

  // An offer can be lost when the other side is between two links; the same one may be sent again.
  #sendOffer(pc, againInMs) {
    this.#mesh.send("offer", this.peerId, { offer: plain(pc.localDescription) });
    clearTimeout(this.#resendTimer);
    this.#resendTimer = setTimeout(() => {
      if (pc === this.pc && pc.signalingState === "have-local-offer") this.#sendOffer(pc, Math.min(againInMs * 2, RESEND_MAX_MS));
    }, againInMs);
  }

  async #handle(message) {
    if (message.type === "ice-candidate") return this.#addCandidate(message.candidate);
    const description = message.offer ?? message.answer;
    const session = sessionOf(description.sdp);
    if (this.#remoteSession && session !== this.#remoteSession) {
      // The page over there was loaded anew: its old connection will never answer again.
      if (description.type === "answer") return this.connect();
      this.#open();
    }
    if (description.type === "answer") return this.#accept(description, session);
    // A browser may close the connections of a page it had put to sleep.
    let pc = this.pc && this.pc.signalingState !== "closed" ? this.pc : this.#open();
    const collision = this.#makingOffer || pc.signalingState !== "stable";
    this.#ignoringOffer = collision && !this.#polite;
    if (this.#ignoringOffer) return;
    // A first offer is withdrawn whole: rolled back, its slots would stay beside the other side's.
    if (collision && !this.#remoteSession) pc = this.#open();
    await pc.setRemoteDescription(description);
    this.#remoteSession = session;
    const [audio, camera] = slots(pc);
    if (audio) audio.direction = "sendrecv";
    if (camera) camera.direction = "sendrecv";
    if (!this.channel) this.#openChannel(pc);
    await this.publish();
    await pc.setLocalDescription();
    this.#mesh.send("answer", this.peerId, { answer: plain(pc.localDescription) });
  }

  async #accept(answer, session) {
    // A repeated offer has a repeated answer; only the first is due.
    if (this.pc?.signalingState !== "have-local-offer") return;
    await this.pc.setRemoteDescription(answer);
    this.#remoteSession = session;
    clearTimeout(this.#resendTimer);
    this.tune();
  }

  async #addCandidate(candidate) {
    try {
      await this.pc?.addIceCandidate(candidate);
    } catch (error) {
      if (!this.#ignoringOffer) console.debug(`candidate from ${this.peerId} was not usable:`, error);
    }
  }

  #connectionChanged(pc) {
    if (pc !== this.pc) return;
    clearTimeout(this.#restartTimer);
    if (pc.connectionState === "connected") this.#restarts = 0;
    if (pc.connectionState === "failed") this.#restart();
    if (pc.connectionState === "disconnected") {
      this.#restartTimer = setTimeout(() => this.#restart(), DISCONNECTED_GRACE_MS);
    }
    this.#show();
  }

  // Without a signaling link nothing can be negotiated: `returned` calls again when there is one.
  #restart() {
    if (!this.#mesh.online || !this.pc || (this.via === "sfu" && this.#mesh.usesServer(this))) return;
    if (this.pc.connectionState === "failed") this.#mesh.dispatchEvent(new CustomEvent("unreachable", { detail: this }));
    if (this.#restarts++ >= RESTARTS_MAX) {
      this.#restarts = 0;
      return this.connect();
    }
    this.pc.setConfiguration({ ...this.pc.getConfiguration(), iceServers: this.#mesh.iceServers });
    this.pc.restartIce();
  }

  #show() {
    this.#mesh.dispatchEvent(new Event("change"));
  }
}

// [microphone, camera, first other video]: the order in which every connection is set up.
function slots(pc) {
  const live = pc.getTransceivers().filter((transceiver) => transceiver.currentDirection !== "stopped");
  const audio = live.find((transceiver) => transceiver.receiver.track.kind === "audio");
  const videos = live.filter((transceiver) => transceiver.receiver.track.kind === "video");
  return [audio, ...videos];
}

async function fill(transceiver, track) {
  if (transceiver && transceiver.sender.track !== track) await transceiver.sender.replaceTrack(track);
}

function plain({ type, sdp }) {
  return { type, sdp };
}

// The session id of SDP's origin line stays the same for the life of one RTCPeerConnection.
function sessionOf(sdp) {
  return /^o=\S+ (\S+)/m.exec(sdp)?.[1];
}

// The way in a line that tells it.
function wayOf(data) {
  try {
    const { via } = JSON.parse(data);
    return via === "sfu" || via === "p2p" ? via : null;
  } catch {
    return null;
  }
}
