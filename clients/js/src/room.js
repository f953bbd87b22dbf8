// A room: its members, its messages in order, and the position up to which they have been handed out.

import { Call } from "./call.js";
import { Handlers, KNOWN_MAX, SwitchboardError, TEMPORARY, newId, noop, random, withData } from "./shared.js";

const TYPING_MS = 3_000;
const RECEIPTS_MS = 250;
const PAGE = 500;

export class Room {
  isJoined = false;
  peerId = null;
  count = 0;
  iceServers = [];
  connectionMode = null;
  members = new Map();
  typists = new Map();

  #link;
  #options;
  #handlers = new Handlers();
  #notices = new Handlers();
  // The position: all messages up to `seq` of this epoch have been handed out.
  #epoch;
  #seq;
  // Messages that came while older ones are fetched.
  #held = null;
  // The peerIds of this member, the latest last: they tell its own messages from those of others, in the history, too.
  #peerIds;
  #turn = 0;
  #isOver = false;
  #typing = { until: 0 };
  #receipts = new Map();
  #receiptTimer = null;
  #settle;

  constructor(id, options = {}, link, saved) {
    this.id = id;
    this.#options = options;
    this.#link = link;
    this.joined = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    this.joined.catch(noop);
    if (saved) [this.#epoch, this.#seq] = [saved.epoch, saved.seq];
    this.#peerIds = saved?.peerIds ?? [options.peerId ?? newId()];
  }

  // Calls a handler with (data, message) of the application's events of this name; "*" stands for all of them.
  on(event, handler) {
    return this.#handlers.add(event, handler);
  }

  // Calls a handler for what happens in the room: "joined", "members", "typing", "delivered", "read-receipt", "gap", "left",
  // any other event by its type.
  when(name, handler) {
    return this.#notices.add(name, handler);
  }

  publish(...values) {
    const [event, data, options] = values.length > 1 ? values : ["message", values[0]];
    this.typing(false);
    const body = event === "message" ? { content: data } : { event, data };
    return this.#link.client.request("message", { roomId: this.id, ...body, ...options });
  }

  // Stored messages, oldest first: those after a `seq`, or the newest `limit`.
  async *history({ after, limit = after === undefined ? 50 : Infinity } = {}) {
    const isTail = after === undefined;
    while (limit > 0) {
      const fields = { roomId: this.id, after, limit: Math.min(limit, PAGE) };
      const { messages, seq } = await this.#link.client.request("history", fields);
      for (const message of messages) {
        yield withData(message);
        after = message.seq;
        limit--;
      }
      if (isTail || !messages.length || after >= seq) return;
    }
  }

  // To be called with each key: tells the others now and then, and that it has ended.
  typing(isTyping = true) {
    const now = Date.now();
    clearTimeout(this.#typing.timer);
    if (isTyping) this.#typing.timer = setTimeout(() => this.typing(false), TYPING_MS + 1_000);
    if (isTyping ? now < this.#typing.until : !this.#typing.until) return;
    this.#typing.until = isTyping ? now + TYPING_MS : 0;
    this.#link.cast("typing", { isTyping });
  }

  delivered(messageId) {
    this.#receipt(messageId, "delivered");
  }

  read(messageId) {
    this.#receipt(messageId, "read-receipt");
  }

  receipts(messageId) {
    return this.#link.client.request("receipts", { roomId: this.id, messageId });
  }

  // Any other request of the room, such as "lock-room".
  request(type, fields) {
    return this.#link.client.request(type, { roomId: this.id, ...fields });
  }

  // An offer, answer or candidate for one peer; false if there is no connection.
  signal(toPeerId, type, body) {
    const field = type === "ice-candidate" ? "candidate" : type;
    return this.isJoined && this.#link.cast(type, { toPeerId, [field]: body });
  }

  // WebRTC connections to the members.
  call(options) {
    return new Call(this, options);
  }

  setMedia(mediaState) {
    this.#options = { ...this.#options, mediaState };
    if (this.isJoined) this.#link.cast("media-state-changed", { mediaState });
  }

  async leave() {
    const wasJoined = this.isJoined;
    this._end("left");
    if (wasJoined) await this.#link.client.request("leave-room", { roomId: this.id });
  }

  // Receipts of a moment go together, each once; one that a message was read says that it was delivered.
  #receipt(messageId, kind) {
    if (this.#receipts.get(messageId) !== "read-receipt") this.#receipts.set(messageId, kind);
    if (this.#receipts.size > KNOWN_MAX) this.#receipts.delete(this.#receipts.keys().next().value);
    this.#receiptTimer ??= setTimeout(() => this.#sendReceipts(), RECEIPTS_MS);
  }

  #sendReceipts() {
    this.#receiptTimer = null;
    if (!this.isJoined) return;
    for (const kind of ["delivered", "read-receipt"]) {
      const messageIds = [...this.#receipts].filter(([, known]) => known === kind).map(([id]) => id);
      for (let from = 0; from < messageIds.length; from += 100) this.#link.cast(kind, { messageIds: messageIds.slice(from, from + 100) });
    }
    this.#receipts.clear();
  }

  _position() {
    return { epoch: this.#epoch, seq: this.#seq, peerIds: this.#peerIds };
  }

  _forget() {
    this.#epoch = this.#seq = undefined;
  }

  _join() {
    const turn = ++this.#turn;
    const fields = { roomId: this.id, ...this.#options, peerId: this.#peerIds.at(-1) };
    this.#link.ask("join-room", fields, (answer, error) => {
      if (this.#isOver && answer) this.#link.cast("leave-room");
      if (turn !== this.#turn) return;
      if (answer) return this.#entered(answer, false);
      if (error.code === "LINK_DOWN") return;
      // A guest whose session is lost is another user than the member that the server still has.
      if (error.code === "PEER_ID_TAKEN" && !this.#options.peerId) {
        this.#peerIds.push(newId());
        return this._join();
      }
      if (TEMPORARY.includes(error.code)) {
        return setTimeout(() => turn === this.#turn && this._join(), error.retryAfterMs ?? random(500, 1500));
      }
      this._end(error.code, error);
    });
  }

  _resumed(entry) {
    ++this.#turn;
    this.#entered(entry, entry.recovered);
  }

  #entered(view, isRecovered) {
    const { epoch, seq, peers, messages = [] } = view;
    this.isJoined = true;
    this.peerId = view.peerId;
    this.count = view.participantCount;
    this.connectionMode = view.connectionMode;
    this.iceServers = view.iceServers ?? this.iceServers;
    this.members = new Map(peers.map((peer) => [peer.peerId, peer]));
    this.typists.clear();
    const missed = this.#epoch === epoch && seq > this.#seq;
    if (this.#epoch && this.#epoch !== epoch) this.#notices.emit("gap", { after: this.#seq, epoch });
    this.#epoch = epoch;
    if (isRecovered) {
      messages.forEach((message) => this.#take(message));
      this.#seq = Math.max(seq, this.#seq ?? 0);
    } else if (missed) {
      this.#fill(seq, this.#turn);
    } else {
      this.#seq = seq;
    }
    this.#settle.resolve(this);
    this.#notices.emit("joined", this);
    this.#notices.emit("members", this.members);
    this.#link.ready();
    this.#sendReceipts();
  }

  // Fetches the messages up to `seq` that recovery did not bring, while newer ones are held.
  async #fill(seq, turn) {
    this.#held = [];
    while (turn === this.#turn && this.#seq < seq) {
      const after = this.#seq;
      const fields = { roomId: this.id, after, limit: PAGE };
      const page = await new Promise((resolve) => {
        this.#link.ask("history", fields, (answer, error) => resolve({ messages: answer?.messages, error }));
      });
      if (turn !== this.#turn || page.error?.code === "LINK_DOWN") return;
      if (TEMPORARY.includes(page.error?.code)) {
        await new Promise((resolve) => setTimeout(resolve, page.error.retryAfterMs ?? 1_000));
        continue;
      }
      const messages = (page.messages ?? []).filter((message) => message.seq <= seq);
      if (messages[0]?.seq !== after + 1) {
        this.#notices.emit("gap", { after, before: messages[0]?.seq ?? seq + 1 });
        if (!messages.length) break;
      }
      messages.forEach((message) => this.#hand(message));
    }
    if (turn !== this.#turn) return;
    const held = this.#held ?? [];
    this.#held = null;
    this.#seq = Math.max(seq, this.#seq);
    held.forEach((message) => this.#take(message));
  }

  _lost() {
    ++this.#turn;
    this.isJoined = false;
    this.#held = null;
    this.#typing.until = 0;
  }

  _end(reason, error) {
    if (this.#isOver) return;
    this.#isOver = true;
    this._lost();
    clearTimeout(this.#typing.timer);
    clearTimeout(this.#receiptTimer);
    this.#link.gone(error);
    this.#settle.reject(error ?? new SwitchboardError("ENDED", reason));
    this.#notices.emit("left", { reason, error });
  }

  #take(message) {
    if (message.seq && this.#held) this.#held.push(message);
    else this.#hand(message);
  }

  #hand(message) {
    if (message.seq <= this.#seq) return;
    if (message.seq) this.#seq = message.seq;
    if (this.#peerIds.includes(message.fromPeerId)) return;
    const { event, data } = withData(message);
    this.#handlers.emit(event, data, message);
    this.#handlers.emit("*", data, message);
  }

  _receive(message) {
    const { type, peerId } = message;
    switch (type) {
      case "message":
        return this.#take(message);
      case "peer-joined":
        this.members.set(peerId, message);
        this.count++;
        break;
      case "peer-left":
        if (this.members.delete(peerId)) this.count--;
        break;
      case "media-state-changed":
        Object.assign(this.members.get(peerId) ?? {}, { mediaState: message.mediaState, sfu: message.sfu });
        break;
      case "room-stats":
        this.count = message.participantCount;
        break;
      case "connection-mode-changed":
        this.connectionMode = message.connectionMode;
        break;
      case "typing":
        if (message.isTyping) this.typists.set(message.userId, message.displayName);
        else this.typists.delete(message.userId);
        break;
      case "disconnect":
        return this._end(message.reason);
      case "room-closed":
        // A room that lost its log goes on with another one.
        if (/^closed/.test(message.reason)) return this._end(message.reason);
        this._lost();
        return this._join();
    }
    this.#notices.emit(type, message);
    if (/^(peer-|room-stats|media-)/.test(type)) this.#notices.emit("members", this.members);
  }
}
