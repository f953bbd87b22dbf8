// The client of the raw protocol of /ws.
//
// A `Switchboard` keeps one WebSocket up. After a loss it comes back by itself, resumes, and sends again what has no answer;
// each `Room` gives every message of others once and in the order of the room. Frames are handled synchronously in the order
// in which they come: promises settle after the handlers of the frames before them.

import { Room } from "./room.js";
import { Handlers, Known, SwitchboardError, newId, noop, random, withData } from "./shared.js";

export { SwitchboardError };

// Close codes after which another attempt would meet the same answer.
const FINAL = { 4403: "blocked", 4409: "replaced", 4410: "removed" };
const BACKOFF_MS = [500, 15_000];
const PATIENCE_MS = 10_000;
const STABLE_MS = 10_000;
// The server remembers a `clientMessageId` for five minutes.
const REPEATABLE_MS = 290_000;

export class Switchboard {
  // "connecting", "online", "waiting" for the next attempt, "ended".
  state = "connecting";
  userId = null;
  connectionId = null;

  #options;
  #url;
  #storage;
  #key;
  // A placeholder while there is none, so that each attempt has an identity.
  #socket = {};
  #handlers = new Handlers();
  #rooms = new Map();
  // Requests without an answer, in the order in which they were made: {frame, done, sentAt, socket, isRepeatable}.
  #outbox = new Map();
  #nextId = 1;
  // Recovery tokens that may still be good, the likeliest first.
  #tokens = [];
  #saved = { rooms: {} };
  #directs = new Known();
  #token;
  #wasOpen = true;
  #attempts = 0;
  #retryAt = 0;
  #isFinal = false;
  // Whether this attempt is one without a WebSocket.
  #isFallback;
  #openedAt = 0;
  #heardAt = 0;
  #timers = {};
  #status = null;
  #unlisten = noop;

  constructor(url = "/ws", options = {}) {
    const address = new URL(url, globalThis.location?.href);
    address.protocol = address.protocol.replace("http", "ws");
    if (address.pathname === "/") address.pathname = "/ws";
    address.searchParams.set("events", "all");
    this.#url = address.href;
    const fallback = new URL("/switchboard-fallback.mjs", address.href.replace("ws", "http"));
    this.#options = { queueMax: 1_000, fallback: () => import(fallback), ...options };
    this.#key = `switchboard:${options.name ?? address.origin + address.pathname}`;
    try {
      this.#storage = options.storage ?? (options.storage === undefined ? globalThis.sessionStorage : null);
      this.#restore(JSON.parse(this.#storage.getItem(this.#key)));
      // A duplicate of this tab must not take its session away: it is in the storage only while no page has it.
      this.#storage.removeItem(this.#key);
    } catch {
      // Nothing is kept, or the page may not keep anything.
    }
    this.#listen();
    // Rooms that are joined right after this are part of the first `resume`.
    this.#later("retry", 0, () => this.#open());
  }

  // Calls a handler for what concerns no room: "state", "message" of a user or to all, "presence", "error", any event by its type.
  when(name, handler) {
    return this.#handlers.add(name, handler);
  }

  // The room of this id, which is joined, and joined again whenever it must be.
  join(roomId, options) {
    let room = this.#rooms.get(roomId);
    if (room) return room;
    const link = {
      client: this,
      ask: (type, fields, done) => this.#ask(type, fields, { done }),
      cast: (type, fields) => this.#send({ type, roomId, ...fields }),
      ready: () => this.#flush(),
      gone: (error) => {
        this.#rooms.delete(roomId);
        for (const entry of error ? [...this.#outbox.values()] : []) {
          if (entry.frame.roomId === roomId) entry.done(null, error);
        }
      },
    };
    room = new Room(roomId, options, link, this.#saved.rooms[roomId]);
    delete this.#saved.rooms[roomId];
    this.#rooms.set(roomId, room);
    if (this.state === "online") room._join();
    return room;
  }

  // Sends {type, ...fields}, now or when the connection is back, and resolves with the answer.
  request(type, fields = {}) {
    return new Promise((resolve, reject) => {
      this.#ask(type, fields, {
        isKept: true,
        done: (answer, error) => (error ? reject(error) : resolve(answer)),
      });
    });
  }

  // Sends any JSON to a user.
  sendTo(toUserId, content, options) {
    return this.request("message", { toUserId, content, ...options });
  }

  // Sets the status of the user, also for connections to come.
  presence(status) {
    this.#status = status;
    this.#send({ type: "presence", status });
  }

  // Connects at once if an attempt is being waited for; otherwise checks the connection.
  retry() {
    if (this.state === "waiting") this.#open();
    else if (this.state === "online") this.#check(PATIENCE_MS / 2);
  }

  // Ends this connection as a failure of the network would; the client comes back and resumes.
  drop() {
    this.#lost(this.#socket, 4000);
  }

  // Keeps the session for the next page and lets go of the connection. Others do not see the user leave if that page is
  // there within the grace period of the server.
  suspend() {
    const rooms = { ...this.#saved.rooms };
    for (const [id, room] of this.#rooms) rooms[id] = room._position();
    const frames = [...this.#outbox.values()].filter((entry) => entry.isRepeatable);
    const state = {
      tokens: this.#tokens,
      userId: this.userId,
      rooms,
      directs: [...this.#directs.ids].slice(-100),
      outbox: frames.map(({ frame, sentAt }) => ({ frame, sentAt })),
    };
    try {
      if (this.state !== "ended") this.#storage?.setItem(this.#key, JSON.stringify(state));
    } catch {
      // The storage is full: the next page begins anew.
    }
    this.#wasOpen = true;
    this.drop();
    clearTimeout(this.#timers.retry);
  }

  // Leaves all rooms and ends the client.
  close(reason = "closed") {
    this.#end(reason);
  }

  #restore(state) {
    if (!state) return;
    this.#saved = { rooms: state.rooms, userId: state.userId };
    this.#tokens = state.tokens;
    this.userId = state.userId;
    state.directs.forEach((id) => this.#directs.note(id));
    for (const { frame, sentAt } of state.outbox) this.#keep(frame, { done: noop, sentAt, isRestored: true });
  }

  #listen() {
    const target = globalThis.window;
    if (!target?.addEventListener) return;
    const handlers = {
      online: () => this.retry(),
      pagehide: () => this.#storage && this.suspend(),
      pageshow: (event) => {
        if (!event.persisted || this.state === "ended") return;
        this.#storage?.removeItem(this.#key);
        this.#open();
      },
    };
    for (const name in handlers) target.addEventListener(name, handlers[name]);
    this.#unlisten = () => {
      for (const name in handlers) target.removeEventListener(name, handlers[name]);
    };
  }

  #later(name, delayMs, act) {
    clearTimeout(this.#timers[name]);
    this.#timers[name] = setTimeout(act, Math.min(delayMs, 2 ** 31 - 1));
  }

  // The token for the next attempt: asked for again if the last one has expired or may have been the reason of a refusal.
  async #credentials() {
    const { token } = this.#options;
    if (typeof token !== "function") return token;
    if (!this.#token || !this.#wasOpen || expiryOf(this.#token) < Date.now() + PATIENCE_MS / 2) this.#token = await token();
    return this.#token;
  }

  // Makes an attempt: with a WebSocket, or if that did not open, without one.
  async #open(isFallback) {
    clearTimeout(this.#timers.retry);
    this.#isFallback = isFallback;
    const attempt = (this.#socket = {});
    this.#enter("connecting");
    let socket;
    try {
      const token = await this.#credentials();
      const Socket = isFallback ? (await this.#options.fallback()).default : this.#options.WebSocket ?? WebSocket;
      if (attempt !== this.#socket || this.state === "ended") return;
      this.#wasOpen = false;
      socket = new Socket(this.#url, token ? ["bearer", token] : []);
    } catch (error) {
      if (attempt !== this.#socket) return;
      // Without the server there is no fallback either.
      if (!isFallback) this.#handlers.emit("error", error);
      return this.#wait();
    }
    this.#socket = socket;
    this.#later("silence", PATIENCE_MS, () => this.#lost(socket, 4408));
    socket.onmessage = ({ data }) => socket === this.#socket && typeof data === "string" && this.#receive(data);
    socket.onclose = ({ code, reason }) => this.#lost(socket, code, reason);
    socket.onerror = noop;
  }

  #send(frame) {
    if (this.state !== "online" && frame.type !== "resume") return false;
    this.#socket.send(JSON.stringify(frame));
    return true;
  }

  #receive(text) {
    this.#heardAt = Date.now();
    const message = JSON.parse(text);
    const { type, roomId, requestId } = message;
    const entry = this.#outbox.get(requestId);
    if (entry?.socket === this.#socket) {
      const failed = type === "error";
      return entry.done(failed ? null : message, failed ? errorOf(message) : null);
    }
    if (type === "connect") return this.#greeted(message);
    if (type === "pong") return;
    if (type === "disconnect" && !roomId) {
      this.#retryAt = Date.now() + (message.retryAfterMs || 0);
      this.#isFinal = message.reconnect === false && !/^token/.test(message.reason) && message.reason;
      return;
    }
    if (roomId) return this.#rooms.get(roomId)?._receive(message);
    if (type === "message" && !this.#directs.note(message.id)) return;
    this.#handlers.emit(type, type === "error" ? errorOf(message) : type === "message" ? withData(message) : message);
  }

  #greeted({ connectionId, userId, recoveryToken, heartbeatMs }) {
    this.#openedAt = Date.now();
    this.#wasOpen = true;
    this.#isFinal = false;
    this.connectionId = connectionId;
    this.#beat(heartbeatMs || 25_000);
    this.#renewLater();
    const before = this.#saved.userId;
    if (before && before !== userId && !(before + userId).match(/^guest:.*guest:/)) this.#forget();
    this.#saved.userId = null;
    const tokens = this.#tokens;
    this.#tokens = [...tokens.slice(0, 2), recoveryToken];
    this.#resume([...tokens], userId);
  }

  // The page before this one was of another user.
  #forget() {
    this.#tokens = [];
    this.#saved.rooms = {};
    for (const room of this.#rooms.values()) room._forget();
    for (const [id, entry] of this.#outbox) if (entry.isRestored) this.#outbox.delete(id);
  }

  #resume(tokens, userId) {
    const recoveryToken = tokens.shift();
    if (!recoveryToken) return this.#ready(userId, {});
    const rooms = {};
    for (const [id, room] of this.#rooms) {
      const { epoch, seq } = room._position();
      if (epoch) rooms[id] = { epoch, seq };
    }
    this.#ask("resume", { recoveryToken, rooms }, {
      done: (answer, error) => {
        if (answer) this.#ready(answer.userId, answer.rooms, answer);
        else if (error.code === "RECOVERY_FAILED") this.#resume(tokens, userId);
        else this.drop();
      },
    });
  }

  #ready(userId, rooms, resumed) {
    this.userId = userId;
    this.#tokens = this.#tokens.slice(-1);
    this.#enter("online");
    for (const [id, room] of [...this.#rooms]) {
      if (rooms[id] && !rooms[id].code) room._resumed(rooms[id]);
      else room._join();
    }
    for (const id in rooms) {
      if (!this.#rooms.has(id) && !this.#saved.rooms[id] && !rooms[id].code) this.#send({ type: "leave-room", roomId: id });
    }
    if (this.#status && this.#status !== "online") this.presence(this.#status);
    this.#flush();
    this.#handlers.emit("ready", { isResumed: !!resumed });
  }

  // Our own pings measure the silence: a page does not see those of the server.
  #beat(intervalMs) {
    this.#later("silence", intervalMs, () => {
      if (Date.now() - this.#heardAt < intervalMs - 50) return this.#beat(intervalMs - (Date.now() - this.#heardAt));
      this.#check(PATIENCE_MS, () => this.#beat(intervalMs));
    });
  }

  #check(patienceMs, then = () => this.#beat(25_000)) {
    const socket = this.#socket;
    const asked = Date.now();
    this.#send({ type: "ping" });
    this.#later("silence", patienceMs, () => (this.#heardAt < asked ? this.#lost(socket, 4408) : then()));
  }

  // A renewal at three quarters of the token's life.
  #renewLater() {
    const { token } = this.#options;
    const leftMs = expiryOf(this.#token) - Date.now();
    if (typeof token !== "function" || !(leftMs < Infinity)) return;
    this.#later("renew", Math.max(1_000, leftMs * random(0.7, 0.8)), async () => {
      try {
        const fresh = await token();
        if (this.state !== "online") return;
        this.#ask("authenticate", { token: fresh }, {
          done: (answer, error) => {
            if (answer) this.#token = fresh;
            else this.#handlers.emit("error", error);
            this.#renewLater();
          },
        });
      } catch (error) {
        this.#handlers.emit("error", error);
        this.#renewLater();
      }
    });
  }

  // `isKept`: it waits for a connection. Requests that are not kept end with the connection.
  #ask(type, fields, { done, isKept }) {
    const frame = { type, ...fields };
    if (type === "message" && frame.roomId && !frame.toPeerId) frame.clientMessageId ??= newId();
    if (isKept && (this.state === "ended" || this.#outbox.size >= this.#options.queueMax)) {
      return done(null, new SwitchboardError(this.state === "ended" ? "ENDED" : "QUEUE_FULL"));
    }
    const entry = this.#keep(frame, { done, isKept });
    if (isKept) this.#flush();
    else this.#transmit(entry);
  }

  #keep(frame, { done, isKept = true, sentAt = 0, isRestored }) {
    const requestId = this.#nextId++;
    // Messages to one peer or user are not recognised when they come twice.
    const isRepeatable = frame.type === "message" ? !!frame.clientMessageId && !!frame.roomId : isKept;
    const entry = { frame: { ...frame, requestId }, sentAt, isKept, isRestored, isRepeatable: isRepeatable && isKept };
    entry.done = (answer, error) => {
      if (this.#outbox.delete(requestId)) done(answer, error);
    };
    this.#outbox.set(requestId, entry);
    return entry;
  }

  #transmit(entry) {
    entry.socket = this.#socket;
    entry.sentAt ||= Date.now();
    if (!this.#send(entry.frame)) entry.done(null, new SwitchboardError("LINK_DOWN"));
  }

  // Sends what waits, in order; that of a room once the room is joined.
  #flush() {
    if (this.state !== "online") return;
    for (const entry of [...this.#outbox.values()]) {
      if (entry.socket === this.#socket) continue;
      const { roomId } = entry.frame;
      const room = this.#rooms.get(roomId);
      if (room ? !room.isJoined : roomId && entry.isRestored) continue;
      if (entry.sentAt && entry.frame.type === "message" && Date.now() - entry.sentAt > REPEATABLE_MS) {
        entry.done(null, new SwitchboardError("UNKNOWN_OUTCOME"));
      } else {
        this.#transmit(entry);
      }
    }
  }

  #lost(socket, code, reason) {
    if (socket !== this.#socket) return;
    this.#socket = {};
    for (const name in this.#timers) clearTimeout(this.#timers[name]);
    if (socket.readyState < 2) socket.close(code === 1000 ? 1000 : 4000);
    if (this.state === "ended") return;
    const sent = [...this.#outbox.values()].filter((entry) => entry.socket === socket);
    // A frame that the server does not take would end each connection that it is sent on.
    const size = ({ frame }) => JSON.stringify(frame).length;
    if (code === 1009) sent.sort((one, other) => size(other) - size(one))[0]?.done(null, new SwitchboardError("MESSAGE_TOO_LARGE"));
    for (const entry of sent) {
      if (!entry.isKept) entry.done(null, new SwitchboardError("LINK_DOWN"));
      else if (!entry.isRepeatable) entry.done(null, new SwitchboardError("UNKNOWN_OUTCOME"));
      entry.socket = null;
    }
    for (const room of this.#rooms.values()) room._lost();
    if (code === 4401) {
      this.#token = null;
      if (typeof this.#options.token !== "function") return this.#end(reason || "token-expired");
    }
    if (this.#isFinal || FINAL[code]) return this.#end(this.#isFinal || reason || FINAL[code]);
    if (this.#wasOpen || this.#isFallback || !this.#options.fallback) this.#wait();
    else this.#open(true);
  }

  #wait() {
    if (Date.now() - this.#openedAt > STABLE_MS && this.#openedAt) this.#attempts = this.#openedAt = 0;
    const ceilingMs = Math.min(BACKOFF_MS[1], BACKOFF_MS[0] * 2 ** this.#attempts++);
    const toldMs = Math.max(0, this.#retryAt - Date.now()) * random(1, 1.2);
    const retryInMs = Math.max(random(ceilingMs / 2, ceilingMs), toldMs);
    this.#later("retry", retryInMs, () => this.#open());
    this.#enter("waiting", { retryInMs });
  }

  #end(reason) {
    if (this.state === "ended") return;
    const socket = this.#socket;
    this.#enter("ended", { reason });
    this.#lost(socket, 1000);
    this.#unlisten();
    clearTimeout(this.#timers.retry);
    for (const entry of [...this.#outbox.values()]) entry.done(null, new SwitchboardError("ENDED", reason));
    for (const room of [...this.#rooms.values()]) room._end(reason);
  }

  #enter(state, more) {
    this.state = state;
    this.#handlers.emit("state", { state, ...more });
  }
}

const errorOf = ({ code, error, retryAfter }) => new SwitchboardError(code, error, retryAfter);

// When a token expires, in milliseconds; Infinity if it does not say so.
function expiryOf(token) {
  try {
    return JSON.parse(atob(token.split(".")[1].replace(/-/g, "+").replace(/_/g, "/"))).exp * 1000 || Infinity;
  } catch {
    return Infinity;
  }
}
