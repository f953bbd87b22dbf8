// The chat of a call. It goes through the room, so it has the room's order, is there for whoever comes later where the
// server keeps messages, and has receipts.

const HISTORY = 100;
const MESSAGES_MAX = 1_000;

export class Chat {
  // {id, seq, peerId, name, text, at, self, state, delivered, read}: `state` is "sending", "sent" or "failed" of one's own.
  messages = [];

  #call;
  #seq = 0;
  #known = new Set();
  // While stored messages are fetched, those that come wait.
  #held = null;

  // `call` has roomId, peerId, displayName, signaling, and show(message), which is called again when a message has changed.
  constructor(call) {
    this.#call = call;
  }

  // Fetches what was said before one came, or while one was away.
  async entered() {
    if (this.#held) return;
    this.#held = [];
    const { roomId, signaling } = this.#call;
    try {
      const { messages } = await signaling.request("history", { roomId, ...(this.#seq && { after: this.#seq }), limit: HISTORY });
      messages.forEach((message) => this.#take(message));
    } catch {
      // The room keeps nothing, or the link is down again; then it is asked with the next one.
    }
    const held = this.#held;
    this.#held = null;
    held.forEach((message) => this.#take(message));
  }

  // A message of the room, or a receipt; others are left alone.
  receive(message) {
    if (message.type === "message" && this.#held) this.#held.push(message);
    else if (message.type === "message") this.#take(message);
    else this.#receipt(message);
  }

  async send(text) {
    const { roomId, peerId, displayName, signaling } = this.#call;
    const clientMessageId = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
    const message = { peerId, name: displayName, text, at: Date.now(), self: true, state: "sending", delivered: 0, read: 0 };
    this.#add(message);
    // The second attempt is known by its id, so that the message is there once.
    for (let attempt = 0; attempt < 2 && message.state === "sending"; attempt++) {
      try {
        const { id, seq } = await signaling.request("message", { roomId, content: text, clientMessageId });
        Object.assign(message, { id, seq, state: "sent" });
        this.#known.add(id);
        this.#seq = Math.max(this.#seq, seq ?? 0);
      } catch (error) {
        if (error.code !== "LINK_DOWN" && error.code !== "TIMEOUT") break;
        await this.#linked();
      }
    }
    if (message.state === "sending") message.state = "failed";
    this.#call.show(message);
  }

  // The messages are seen.
  read() {
    const { roomId, signaling } = this.#call;
    const unread = this.messages.filter((message) => !message.self && message.id && !message.isRead);
    if (!unread.length) return;
    for (const message of unread) message.isRead = true;
    const messageIds = unread.slice(-100).map(({ id }) => id);
    signaling.send("read-receipt", { roomId, messageIds });
  }

  // Once the room has been entered again.
  #linked() {
    return new Promise((resolve) => {
      const timer = setInterval(() => {
        if (!this.#call.isOver && !this.#call.isIn) return;
        clearInterval(timer);
        resolve();
      }, 100);
    });
  }

  #take({ id, seq, fromPeerId, sender, displayName, content, timestamp }) {
    if (typeof content !== "string" || this.#known.has(id)) return;
    this.#known.add(id);
    if (seq) this.#seq = Math.max(this.#seq, seq);
    const { roomId, peerId, signaling } = this.#call;
    const self = fromPeerId === peerId;
    this.#add({ id, seq, peerId: fromPeerId ?? null, name: displayName || sender, text: content, at: Number(timestamp) || Date.now(), self, state: "sent", delivered: 0, read: 0 });
    if (!self && seq) signaling.send("delivered", { roomId, messageId: id });
  }

  #receipt({ type, messageId }) {
    const message = this.messages.find((it) => it.self && it.id === messageId);
    if (!message) return;
    message[type === "delivered" ? "delivered" : "read"]++;
    this.#call.show(message);
  }

  #add(message) {
    this.messages.push(message);
    if (this.messages.length > MESSAGES_MAX) this.messages.shift();
    this.#call.show(message);
  }
}
