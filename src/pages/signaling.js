// The raw dialect over /ws: one JSON object per text frame, {type, timestamp, …}.
//
// A `Signaling` keeps one WebSocket up. It reconnects by itself with exponential backoff and
// jitter, obeys the server's `disconnect` {reason, reconnect, retryAfterMs}, pairs requests with
// their answers by `requestId`, and notices a dead link by an unanswered `ping`. It knows nothing
// of rooms or media: after every `connect` event its owner joins again.
//
// Events: "state" {state, retryInMs}, "connect" (the server's message), "message" (every message
// that answers no request), "end" {reason, closeCode}: it will not reconnect.

const BACKOFF_FIRST_MS = 500;
const BACKOFF_MAX_MS = 15_000;
const STABLE_AFTER_MS = 10_000;
const GREETING_TIMEOUT_MS = 10_000;
const REQUEST_TIMEOUT_MS = 10_000;
const PONG_TIMEOUT_MS = 10_000;
const HEARTBEAT_DEFAULT_MS = 25_000;
const LOG_MAX = 2_000;

// Close codes after which another attempt would only meet the same answer.
const FINAL_CLOSE_CODES = new Map([
  [1008, "refused"],
  [4401, "token-expired"],
  [4403, "blocked"],
  [4409, "replaced"],
  [4410, "removed"],
]);
const FINAL_REASONS = new Set(["replaced", "token-expired", "token-revoked", "blocked", "address-blocked", "removed"]);

export class SignalingError extends Error {
  constructor(code, message) {
    super(message || code);
    this.name = "SignalingError";
    this.code = code;
  }
}

export class Signaling extends EventTarget {
  // What went over the wire, oldest first: {direction: "in" | "out", type, at}.
  log = [];
  // "idle", "connecting", "open" (greeted by the server), "waiting" (for the next attempt), "ended".
  state = "idle";
  // The server's latest `connect` message, and the one before it.
  greeting = null;
  previousGreeting = null;

  #url;
  #protocols;
  #socket = null;
  #attempts = 0;
  #openedAt = 0;
  #retryAt = 0;
  #requests = new Map();
  #nextRequestId = 1;
  #retryTimer = 0;
  #heartbeatTimer = 0;
  #greetingTimer = 0;
  #heardAt = 0;

  constructor(url, token) {
    super();
    this.#url = url;
    // The subprotocol `bearer` carries the token: addresses end up in logs.
    this.#protocols = token ? ["bearer", token] : [];
    addEventListener("online", () => this.retryNow());
  }

  start() {
    if (this.state === "idle" || this.state === "ended") this.#connect();
  }

  // Connects at once when an attempt is being waited for.
  retryNow() {
    if (this.state !== "waiting") return;
    clearTimeout(this.#retryTimer);
    this.#connect();
  }

  // Closes the link for good.
  stop(reason = "stopped") {
    this.#finish(reason, 1000);
  }

  // Sends {type, …fields, timestamp}; false when the link is down.
  send(type, fields = {}) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return false;
    this.#note("out", type);
    this.#socket.send(JSON.stringify({ type, ...fields, timestamp: Date.now() }));
    return true;
  }

  // Sends and resolves with the message that carries the same requestId; rejects with a
  // SignalingError when that message is an error, when the link drops, or after ten seconds.
  request(type, fields = {}) {
    const requestId = this.#nextRequestId++;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#requests.delete(requestId);
        reject(new SignalingError("TIMEOUT", "The server did not answer in time"));
      }, REQUEST_TIMEOUT_MS);
      this.#requests.set(requestId, { resolve, reject, timer });
      if (!this.send(type, { ...fields, requestId })) {
        this.#settle(requestId, null, new SignalingError("LINK_DOWN", "Not connected"));
      }
    });
  }

  #connect() {
    const socket = new WebSocket(this.#url, this.#protocols);
    this.#socket = socket;
    this.#enter("connecting");
    this.#greetingTimer = setTimeout(() => socket.close(), GREETING_TIMEOUT_MS);
    // A socket that was given up may still speak; only the current one is listened to.
    socket.onmessage = (event) => socket === this.#socket && this.#receive(event.data);
    socket.onclose = (event) => socket === this.#socket && this.#closed(event.code);
  }

  #receive(text) {
    this.#heardAt = Date.now();
    let message;
    try {
      message = JSON.parse(text);
    } catch {
      return;
    }
    if (typeof message?.type !== "string") return;
    this.#note("in", message.type);
    if (message.type === "connect") return this.#greeted(message);
    if (message.type === "disconnect") return this.#dismissed(message);
    if (message.type === "pong") return;
    if (this.#requests.has(message.requestId)) {
      const error = message.type === "error" ? new SignalingError(message.code, message.error) : null;
      return this.#settle(message.requestId, message, error);
    }
    this.#emit("message", message);
  }

  #greeted(message) {
    clearTimeout(this.#greetingTimer);
    this.#openedAt = Date.now();
    this.previousGreeting = this.greeting;
    this.greeting = message;
    this.#beat(this.#socket, message.heartbeatMs > 0 ? message.heartbeatMs : HEARTBEAT_DEFAULT_MS);
    this.#enter("open");
    this.#emit("connect", message);
  }

  // The browser answers WebSocket pings out of sight, so silence is measured by our own.
  #beat(socket, intervalMs) {
    const tick = () => {
      const silentMs = Date.now() - this.#heardAt;
      if (silentMs >= intervalMs + PONG_TIMEOUT_MS) return this.#drop(socket);
      if (silentMs >= intervalMs) this.send("ping");
      this.#heartbeatTimer = setTimeout(tick, silentMs >= intervalMs ? PONG_TIMEOUT_MS : intervalMs - silentMs);
    };
    this.#heartbeatTimer = setTimeout(tick, intervalMs);
  }

  // A close handshake over a dead link takes minutes; the attempt to come back does not wait for it.
  #drop(socket) {
    socket.close();
    this.#closed(4408);
  }

  #dismissed(message) {
    this.#retryAt = Date.now() + (Number(message.retryAfterMs) || 0);
    if (message.reconnect === false || FINAL_REASONS.has(message.reason)) {
      this.#finish(message.reason || "disconnected", 1000);
    }
  }

  #closed(closeCode) {
    this.#clear();
    if (FINAL_CLOSE_CODES.has(closeCode)) return this.#finish(FINAL_CLOSE_CODES.get(closeCode), closeCode);
    if (this.#openedAt && Date.now() - this.#openedAt > STABLE_AFTER_MS) this.#attempts = 0;
    const ceilingMs = Math.min(BACKOFF_MAX_MS, BACKOFF_FIRST_MS * 2 ** this.#attempts++);
    const jitteredMs = ceilingMs / 2 + (Math.random() * ceilingMs) / 2;
    // Told when to come back, everybody would come at the same instant: spread by a fifth.
    const leftMs = Math.max(0, this.#retryAt - Date.now());
    const retryInMs = Math.max(jitteredMs, leftMs * (1 + Math.random() / 5));
    this.#retryTimer = setTimeout(() => this.#connect(), retryInMs);
    this.#enter("waiting", { retryInMs, everOpened: this.#openedAt > 0 });
  }

  #finish(reason, closeCode) {
    if (this.state === "ended") return;
    const socket = this.#socket;
    this.#clear();
    socket?.close(1000);
    this.#enter("ended");
    this.#emit("end", { reason, closeCode });
  }

  #clear() {
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#heartbeatTimer);
    clearTimeout(this.#greetingTimer);
    this.#socket = null;
    for (const requestId of [...this.#requests.keys()]) {
      this.#settle(requestId, null, new SignalingError("LINK_DOWN", "The connection was lost"));
    }
  }

  #settle(requestId, answer, error) {
    const request = this.#requests.get(requestId);
    this.#requests.delete(requestId);
    clearTimeout(request.timer);
    if (error) request.reject(error);
    else request.resolve(answer);
  }

  #note(direction, type) {
    this.log.push({ direction, type, at: Date.now() });
    if (this.log.length > LOG_MAX) this.log.shift();
  }

  #enter(state, more = {}) {
    this.state = state;
    this.#emit("state", { state, ...more });
  }

  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }
}

// The address of /ws on the server that served this page.
export function signalingUrl() {
  const url = new URL("/ws?events=all", location.href);
  url.protocol = location.protocol === "https:" ? "wss:" : "ws:";
  return url.href;
}
