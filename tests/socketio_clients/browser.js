// The stock bundle of socket.io-client in a page that another server served, in conversation with Switchboard: what
// tests/browser.rs calls. What went wrong is thrown.

'use strict';

const PATIENCE_MS = 20_000;

/** What a client may be told of transports; nothing: it polls first, then moves to a WebSocket. */
const TRANSPORTS = { default: {}, websocket: { transports: ['websocket'] }, polling: { transports: ['polling'] } };

function same(value, expected, what) {
  const [left, right] = [value, expected].map((it) => JSON.stringify(it));
  if (left !== right) throw new Error(`${what}: ${left} is not ${right}`);
}

/** Waits until something has come about. */
async function until(what, has) {
  const end = Date.now() + PATIENCE_MS;
  while (!has()) {
    if (Date.now() > end) throw new Error(`not in ${PATIENCE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Notes what a socket hears, by name: the first argument, behind which there may be what recovery goes by. */
function note(socket) {
  const heard = { connect: 0, connect_error: [] };
  socket.on('connect', () => { heard.connect += 1; });
  socket.on('connect_error', (error) => heard.connect_error.push(error.message));
  socket.onAny((name, argument) => (heard[name] ??= []).push(argument));
  return heard;
}

/** Waits until a client is on the transport that it is to end up on. */
async function settle(socket, kind) {
  const expected = kind === 'default' ? 'websocket' : kind;
  const { engine } = socket.io;
  await until(`${expected} as the transport`, () => engine.readyState !== 'open' || engine.transport.name === expected);
}

/** Asks for an answer by ack. */
function ask(socket, ...args) {
  return socket.timeout(PATIENCE_MS).emitWithAck(...args);
}

/**
 * A conversation with a server for suites; how often it was begun. That server gives up on whoever does not answer its ping
 * within 200 ms, as a browser on a busy machine may not; it then begins anew.
 */
async function suite(url, kind) {
  for (let attempt = 1; ; attempt += 1) {
    const lost = [];
    try {
      await exchange(url, kind, lost);
      return attempt;
    } catch (error) {
      if (!lost.length || attempt === 5) throw error;
    }
  }
}

/** Text and bytes, to and fro, acknowledged and not. Why the connection was lost, if it was, is noted. */
async function exchange(url, kind, lost) {
  const socket = io(url, { ...TRANSPORTS[kind], auth: { token: '123' }, forceNew: true, reconnection: false });
  const heard = note(socket);
  socket.on('disconnect', (reason) => lost.push(reason));
  const numbers = (it) => (it instanceof ArrayBuffer ? [...new Uint8Array(it)] : it);
  await until('auth', () => heard.auth || lost.length);
  same(heard.auth, [{ token: '123' }], 'auth');
  for (const isSettled of [false, true]) {
    if (isSettled) await settle(socket, kind);
    const back = [];
    socket.on('message-back', (...args) => back.push(...args));
    socket.emit('message', 1, { 2: [true] }, 'ünï🦀');
    socket.emit('message', new Uint8Array([0, 30, 255]), 'between', new Blob(['ab']));
    await until('message-back', () => back.length === 6 || lost.length);
    same(back.map(numbers), [1, { 2: [true] }, 'ünï🦀', [0, 30, 255], 'between', [97, 98]], 'message-back');
    socket.off('message-back');
    const large = new Uint8Array(200_000).fill(7);
    same(numbers(await ask(socket, 'message-with-ack', large.buffer)), [...large], 'bytes');
    same(await ask(socket, 'message-with-ack', 'x'.repeat(300_000)), 'x'.repeat(300_000), 'text');
  }
  socket.close();
}

class WebSocketClient {
  constructor(url, kind, token) {
    this.socket = io(`${url}/chat`, { auth: { token }, ...TRANSPORTS[kind] });
    this.heard = note(this.socket);
  }

  joinRoom(chatId) {
    return this.#ask('join:chat', { chatId });
  }

  sendMessage(chatId, content, type = 'text') {
    return this.#ask('message:send', { chatId, content, type });
  }

  #ask(name, argument) {
    return new Promise((resolve, reject) => {
      this.socket.emit(name, argument, (response) => {
        if (response.success) resolve(response);
        else reject(new Error(response.message));
      });
    });
  }
}

/** `/chat` in `camel`, which comes back to its room by itself. */
function camel(url, kind, token, room) {
  const socket = io(`${url}/chat`, { query: { token }, forceNew: true, ...TRANSPORTS[kind] });
  const client = { socket, heard: note(socket), last: undefined, returns: 0 };
  socket.on('newMessage', (message) => { client.last ??= message.id; });
  socket.io.on('reconnect', () => {
    socket.emit('joinRoom', room);
    socket.emit('syncMessages', { roomId: room, lastMessageId: client.last });
    client.returns += 1;
  });
  return client;
}

/** The clients of a page in one room: `main` and `colon` share a connection, as a browser has them. */
class Meeting {
  constructor(url, kind, ada, bob) {
    this.kind = kind;
    this.room = `room-${kind}`;
    this.main = io(url, { auth: { token: ada }, ...TRANSPORTS[kind] });
    this.heard = note(this.main);
    this.colon = new WebSocketClient(url, kind, ada);
    this.camel = camel(url, kind, bob, this.room);
  }

  sockets() {
    return [this.main, this.colon.socket, this.camel.socket];
  }

  contents() {
    return this.camel.heard.newMessage.map((it) => it.content);
  }

  async begin() {
    await until('connected', () => this.sockets().every((it) => it.connected) && this.heard.authenticated);
    same(this.heard.authenticated, [{ userId: 'ada', socketId: this.main.id }], 'authenticated');
    if (this.main.io !== this.colon.socket.io) throw new Error('two connections to one server');
    const pong = await ask(this.main, 'ping', ['ünï🦀']);
    same(pong.data, ['ünï🦀'], 'pong');
    const joined = await this.colon.joinRoom(this.room);
    same([joined.message, joined.roomInfo.chatId], ['Joined chat successfully', this.room], 'join:chat');
    this.camel.socket.emit('joinRoom', this.room);
    await until('joinedRoom', () => this.camel.heard.joinedRoom);
    for (const content of ['one', 'two']) {
      const sent = await this.colon.sendMessage(this.room, content);
      same(sent.message, 'Message sent successfully', content);
    }
    this.camel.socket.emit('sendMessage', { content: 'three', roomId: this.room });
    await until('newMessage', () => this.camel.heard.newMessage?.length === 3);
    await until('message:new', () => this.colon.heard['message:new']?.length === 3);
    same(this.contents(), ['one', 'two', 'three'], 'newMessage');
    same(this.colon.heard['message:new'].map((it) => it.content), ['one', 'two', 'three'], 'message:new');
    for (const socket of this.sockets()) await settle(socket, this.kind);
    await ask(this.main, 'ping');
    same((await this.colon.sendMessage(this.room, 'four')).sentMessage.seq, 4, 'seq');
    await until('the fourth', () => this.camel.heard.newMessage.length === 4);
  }

  /** Whether all have noticed that the server is gone. */
  isCut() {
    return this.sockets().every((it) => !it.connected);
  }

  /** Whether all have come back by themselves. */
  isBack() {
    return this.sockets().every((it) => it.connected) && this.camel.returns > 0;
  }

  /** What is said to a server that has been started again, and was said before. */
  async goOn() {
    await until('syncComplete', () => this.camel.heard.syncComplete);
    same(this.contents(), ['one', 'two', 'three', 'four', 'two', 'three', 'four'], 'the messages asked for');
    await this.colon.joinRoom(this.room);
    same((await this.colon.sendMessage(this.room, 'five')).sentMessage.seq, 5, 'seq');
    await until('the fifth', () => this.contents().includes('five'));
    await ask(this.main, 'ping');
    for (const socket of this.sockets()) {
      await settle(socket, this.kind);
      socket.close();
    }
  }
}

/** What a client hears who is refused; `null` if it is not. */
async function refusal(url, kind, options) {
  const socket = io(url, { reconnection: false, forceNew: true, ...TRANSPORTS[kind], ...options });
  const heard = note(socket);
  await until('an answer', () => socket.connected || heard.connect_error.length);
  // Browsers complain of WebSockets that are closed while they open.
  await settle(socket, kind);
  socket.close();
  return heard.connect_error[0] ?? null;
}
