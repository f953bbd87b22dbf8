// This page's media by the server: one RTCPeerConnection to the media server (an SFU) for everybody.
//
// The page offers and the server answers; the server asks for sections to receive in ("media-sections") and says whose media
// each of them carries ("media-slots"), which may change at any time without an offer. A `ServerLink` is handed messages in
// and out like a `Mesh`; it does not know who uses it.
//
// Events: "change", and "failed" {reason} once, in words for people: the link is closed then.

const OPEN_WITHIN_MS = 10_000;
const DISCONNECTED_GRACE_MS = 4_000;
const CAMERA_BITRATE = 1_200_000;
const SCREEN_BITRATE = 1_500_000;

export class ServerLink extends EventTarget {
  pc = null;
  // [{mid, peerId, source}]
  rows = [];

  #media;
  #send;
  #mediaId = null;
  #screen = null;
  #isOffering = false;
  #wantsOffer = false;
  #mayRepeat = true;
  #timer = 0;
  // By "peerId source": frames or packets when its present section was first measured, and those since.
  #seen = new Map();

  // `send(type, body)` sends a request to the media server, and resolves or rejects with its answer.
  constructor({ media, send }) {
    super();
    this.#media = media;
    this.#send = send;
    media.addEventListener("change", () => this.#publish());
  }

  get isOpen() {
    return this.pc?.connectionState === "connected";
  }

  // Opens the connection, with sections for so many others.
  open(iceServers, others) {
    this.close();
    const pc = new RTCPeerConnection({ iceServers, bundlePolicy: "max-bundle" });
    this.pc = pc;
    // While an offer is under way the browser asks again after its answer.
    pc.onnegotiationneeded = () => this.#isOffering || this.#offer();
    pc.onconnectionstatechange = () => this.#connectionChanged(pc);
    this.microphone = this.#add("audio", "sendonly");
    this.camera = this.#add("video", "sendonly", CAMERA_BITRATE);
    this.#receiveIn({ audio: others, video: others });
    this.#timer = setTimeout(() => this.#fail("The media server cannot be reached."), OPEN_WITHIN_MS);
    this.#publish();
  }

  close() {
    clearTimeout(this.#timer);
    this.pc?.close();
    this.pc = this.#mediaId = this.#screen = null;
    this.rows = [];
    this.#seen.clear();
    this.#isOffering = this.#wantsOffer = false;
    this.#mayRepeat = true;
  }

  // After the link to the server was lost: the media server is told that we are here still.
  returned() {
    if (this.pc) this.#offer();
  }

  // A message of the media server.
  async receive({ type, answer, media }) {
    const pc = this.pc;
    if (!pc) return;
    if (type === "answer" && pc.signalingState === "have-local-offer") {
      this.#mediaId = answer.mediaId;
      await pc.setRemoteDescription({ type: "answer", sdp: answer.sdp });
      this.#isOffering = false;
      if (this.#wantsOffer) this.#offer();
    }
    // Another one's are those of a connection before.
    if (!media || media.mediaId !== this.#mediaId) return;
    if (type === "media-sections") this.#receiveIn(media);
    if (type === "media-slots") {
      this.rows = media.slots;
      const present = new Set(this.rows.map(keyOf));
      for (const key of this.#seen.keys()) if (!present.has(key)) this.#seen.delete(key);
    }
    this.dispatchEvent(new Event("change"));
  }

  // The track of a peer's "microphone", "camera" or "screen"; null if no section carries it.
  track(peerId, source) {
    const row = this.rows.find((row) => row.peerId === peerId && row.source === source);
    return this.#transceiver(row)?.receiver.track ?? null;
  }

  // The loudness of a peer's microphone just now, 0 to 1.
  level(peerId) {
    const row = this.rows.find((row) => row.peerId === peerId && row.source === "microphone");
    const [source] = this.#transceiver(row)?.receiver.getSynchronizationSources() ?? [];
    return source?.audioLevel ?? 0;
  }

  // What has come of each peer: {framesDecoded, screenFramesDecoded, packets, bytesReceived}, by peerId.
  async measure() {
    const found = new Map();
    const reports = this.pc ? await this.pc.getStats() : new Map();
    for (const report of reports.values()) {
      const row = report.type === "inbound-rtp" && this.rows.find((row) => row.mid === report.mid && row.peerId);
      if (!row) continue;
      const count = (report.kind === "video" ? report.framesDecoded : report.packetsReceived) || 0;
      const key = keyOf(row);
      const seen = this.#seen.get(key) ?? { from: count, count };
      seen.count = count;
      this.#seen.set(key, seen);
      const sum = found.get(row.peerId) ?? { framesDecoded: 0, screenFramesDecoded: 0, packets: 0, bytesReceived: 0, fresh: {} };
      sum.bytesReceived += report.bytesReceived || 0;
      if (row.source === "camera") sum.framesDecoded += count;
      if (row.source === "screen") sum.screenFramesDecoded += count;
      if (row.source === "microphone") sum.packets += count;
      sum.fresh[row.source] = seen.count - seen.from;
      found.set(row.peerId, sum);
    }
    return found;
  }

  #transceiver(row) {
    return row && this.pc?.getTransceivers().find((transceiver) => transceiver.mid === row.mid);
  }

  #add(kind, direction, bitrate) {
    const sendEncodings = bitrate ? [{ maxBitrate: bitrate }] : undefined;
    const transceiver = this.pc.addTransceiver(kind, { direction, sendEncodings });
    // The media server forwards these; what else a browser can do makes its offer ten times as long.
    const wanted = kind === "audio" ? ["audio/opus"] : ["video/vp8", "video/rtx"];
    const codecs = RTCRtpReceiver.getCapabilities(kind).codecs.filter((codec) => wanted.includes(codec.mimeType.toLowerCase()));
    transceiver.setCodecPreferences?.(codecs);
    return transceiver;
  }

  // Sections are added only: those that are there are used again.
  #receiveIn(wanted) {
    for (const kind of ["audio", "video"]) {
      const of = this.pc.getTransceivers().filter((it) => it.direction === "recvonly" && it.receiver.track.kind === kind);
      for (let count = of.length; count < wanted[kind]; count++) this.#add(kind, "recvonly");
    }
  }

  async #publish() {
    const pc = this.pc;
    if (!pc) return;
    const { audio, video, screen } = this.#media;
    if (screen && !this.#screen) this.#screen = this.#add("video", "sendonly", SCREEN_BITRATE);
    const pairs = [[this.microphone, audio], [this.camera, video], [this.#screen, screen]];
    await Promise.all(pairs.map(([it, track]) => it && it.sender.track !== track && it.sender.replaceTrack(track)));
  }

  // One offer at a time; wishes that come meanwhile share the next one.
  async #offer() {
    const pc = this.pc;
    this.#wantsOffer = true;
    if (this.#isOffering) return;
    this.#isOffering = true;
    this.#wantsOffer = false;
    try {
      await pc.setLocalDescription();
      if (pc !== this.pc) return;
      const names = [[this.microphone, "microphone"], [this.camera, "camera"], [this.#screen, "screen"]];
      const sources = names.filter(([it]) => it?.mid).map(([it, source]) => ({ mid: it.mid, source }));
      const { sdp } = pc.localDescription;
      await this.#send("offer", { offer: { type: "offer", sdp, sources, ...(this.#mediaId && { mediaId: this.#mediaId }) } });
    } catch (error) {
      if (pc !== this.pc || error.code === "LINK_DOWN") this.#isOffering = false;
      else if (error.code !== "TIMEOUT") this.#refused(error);
    }
  }

  #refused({ code, message }) {
    // The server has started anew, or has given us up: once more from the beginning.
    if (code === "MEDIA_STALE" && this.#mediaId && this.#mayRepeat) {
      const { iceServers } = this.pc.getConfiguration();
      const others = this.rows.length;
      this.open(iceServers, Math.ceil(others / 2));
      this.#mayRepeat = false;
      return;
    }
    this.#fail(message);
  }

  #connectionChanged(pc) {
    if (pc !== this.pc) return;
    clearTimeout(this.#timer);
    if (pc.connectionState === "connected") this.#mayRepeat = true;
    if (pc.connectionState === "failed") return this.#fail("The connection to the media server was lost.");
    if (pc.connectionState === "disconnected") this.#timer = setTimeout(() => pc.restartIce(), DISCONNECTED_GRACE_MS);
    if (pc.connectionState === "connecting") {
      this.#timer = setTimeout(() => this.#fail("The media server cannot be reached."), OPEN_WITHIN_MS);
    }
    this.dispatchEvent(new Event("change"));
  }

  #fail(reason) {
    this.close();
    this.dispatchEvent(new CustomEvent("failed", { detail: { reason } }));
  }
}

function keyOf({ mid, peerId, source }) {
  return `${mid} ${peerId} ${source}`;
}
