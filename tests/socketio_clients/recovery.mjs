// Stock clients whose connections are cut, again and again, while their rooms are busy, and whose server is restarted. Run
// as
//
//   node recovery.mjs HOST PORTS CUTS < TOKENS     tokens of listeners, and a last one of the speaker, as a JSON array
//
// PORTS are one, or several with commas between them, of servers that are one. With several, whoever was cut off comes back
// to another one, and none is restarted. Else it writes `restart term` or `restart kill` when the server is to end in that way and to start again at the same place,
// and goes on when it reads a line. Prints a line for each part that went well; exits with 1 at the first that did not.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { connect as dial, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { io } from 'socket.io-client-4';

const [, , host, list, cuts] = process.argv;
const ports = list.split(',').map(Number);
const PATIENCE_MS = 30_000;
const ROOMS = ['room-0', 'room-1', 'room-2'];
const END = 'the end';
/** Between two messages of a room. */
const PACE_MS = 5;

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const tokens = JSON.parse((await lines.next()).value);
const speakerToken = tokens.pop();

const DIALECTS = {
  colon: { join: (room) => ['join:chat', { chatId: room }], message: 'message:new', roomOf: (it) => it.chatId, noise: ['user:joined', 'user:left'], joined: 'room:joined' },
  camel: { join: (room) => ['joinRoom', room], message: 'newMessage', roomOf: (it) => it.roomId, noise: ['userJoinedRoom', 'userLeftRoom'], joined: 'joinedRoom' },
};

/** A small generator of numbers, so that runs are alike. */
let state = 1;
function below(bound) {
  state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
  return (state >>> 8) % bound;
}

/** Where the next one connects. */
let came = 0;
function next() {
  came += 1;
  return ports[came % ports.length];
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what, has) {
  const end = Date.now() + PATIENCE_MS;
  while (!has()) {
    if (Date.now() > end) throw new Error(`not in ${PATIENCE_MS} ms: ${typeof what === 'function' ? what() : what}`);
    await pause(2);
  }
}

/** What stands between a client and the server, and can break. */
class Wire {
  constructor() {
    this.pairs = new Set();
    this.server = createServer((near) => this.join(near));
    this.isDeaf = false;
    this.port = next();
  }

  async open() {
    await new Promise((resolve) => this.server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${this.server.address().port}`;
  }

  join(near) {
    const far = dial({ host, port: this.port, noDelay: true });
    near.setNoDelay(true);
    const pair = { near, far };
    this.pairs.add(pair);
    const end = () => {
      near.destroy();
      far.destroy();
      this.pairs.delete(pair);
    };
    near.on('data', (data) => far.write(data));
    far.on('data', (data) => { if (!this.isDeaf) near.write(data); });
    for (const socket of [near, far]) socket.on('error', end).on('close', end);
  }

  /** Breaks every connection; what the server said for a while before never arrives. The next ones go elsewhere. */
  async cut() {
    if (below(2)) {
      this.isDeaf = true;
      await pause(below(30));
    }
    const reset = below(2);
    for (const { near, far } of this.pairs) {
      near.destroy();
      if (reset) far.resetAndDestroy();
      else far.destroy();
    }
    this.isDeaf = false;
    this.port = ports[(ports.indexOf(this.port) + 1) % ports.length];
  }

  close() {
    this.server.close();
  }
}

/** Somebody who listens in rooms and judges whatever is heard. */
class Listener {
  constructor(number, dialect, kind, rooms) {
    this.name = `${dialect}, ${kind}, ${rooms.length} rooms, listener ${number}`;
    this.token = tokens[number];
    this.words = DIALECTS[dialect];
    this.dialect = dialect;
    this.options = kind === 'websocket' ? { transports: ['websocket'] } : {};
    this.last = new Map(rooms.map((room) => [room, undefined]));
    this.over = new Set();
    this.heard = 0;
    this.connects = 0;
    this.disconnects = 0;
    this.fault = undefined;
    this.noise = [];
    this.wire = new Wire();
  }

  async come() {
    const url = await this.wire.open();
    const auth = this.dialect === 'colon' ? { auth: { token: this.token } } : { query: { token: this.token } };
    this.socket = io(`${url}/chat`, { ...auth, ...this.options, forceNew: true, reconnectionDelay: 5, reconnectionDelayMax: 50, timeout: 5_000 });
    this.socket.on('connect', () => {
      this.connects += 1;
      if (this.connects > 1 && !this.socket.recovered) this.fail('it was not recovered');
      this.id ??= this.socket.id;
      if (this.id !== this.socket.id) this.fail('its id is another one');
    });
    this.socket.on('disconnect', () => { this.disconnects += 1; });
    this.socket.on(this.words.message, (message) => this.hear(message));
    for (const name of this.words.noise) this.socket.on(name, (it) => this.noise.push([name, it]));
    await until(`${this.name} connects`, () => this.socket.connected);
    for (const room of this.last.keys()) {
      const joined = new Promise((resolve) => this.socket.once(this.words.joined, resolve));
      this.socket.emit(...this.words.join(room));
      await joined;
    }
  }

  fail(why) {
    this.fault ??= new Error(`${this.name}: ${why}`);
  }

  hear(message) {
    const room = this.words.roomOf(message);
    const last = this.last.get(room);
    if (last !== undefined && message.seq !== last + 1) this.fail(`${message.seq} of ${room} after ${last}`);
    this.last.set(room, message.seq);
    this.heard += 1;
    if (message.content === END) this.over.add(room);
  }

  check() {
    if (this.fault) throw this.fault;
  }

  /** Is cut off. A client that polls may have no connection at the moment. */
  async lose() {
    const { disconnects } = this;
    while (this.disconnects === disconnects) {
      await this.wire.cut();
      for (let wait = 0; wait < 50 && this.disconnects === disconnects; wait += 1) await pause(2);
    }
  }

  /** Is cut off some times, at any moment, at times once more before it is back. */
  async endure(times) {
    for (let number = 0; number < times; number += 1) {
      const [heard, connects] = [this.heard, this.connects];
      const wanted = below(8);
      await until(() => `${this.name} hears something`, () => this.fault || this.heard >= heard + wanted);
      await this.lose();
      while (below(4) === 0) {
        await pause(below(40));
        await this.wire.cut();
      }
      await until(() => `${this.name} is back`, () => this.fault || (this.connects > connects && this.socket.connected));
      this.check();
    }
  }

  leave() {
    this.socket.close();
    this.wire.close();
  }
}

/** Speaks in a room until it is told to stop; whatever is not acknowledged is said again under the same name. */
class Speaker {
  constructor(room) {
    this.room = room;
    this.isOver = false;
    this.said = 0;
  }

  async come() {
    this.socket = io(`http://${host}:${next()}/chat`, { auth: { token: speakerToken }, transports: ['websocket'], forceNew: true, reconnectionDelay: 5, reconnectionDelayMax: 50 });
    await until('the speaker connects', () => this.socket.connected);
    const answer = await this.ask('join:chat', { chatId: this.room });
    assert.ok(answer.success, JSON.stringify(answer));
  }

  /** Asks until there is an answer. */
  async ask(name, argument) {
    for (const end = Date.now() + PATIENCE_MS; ;) {
      try {
        const answer = await this.socket.timeout(2_000).emitWithAck(name, argument);
        if (answer.success || !['STORAGE_UNAVAILABLE', 'OVERLOADED'].includes(answer.code)) return answer;
      } catch {
        // It was lost on the way; the same question again.
      }
      assert.ok(Date.now() < end, `${name} is not answered`);
      await pause(5);
    }
  }

  async say(content) {
    const answer = await this.ask('message:send', { chatId: this.room, content, clientMessageId: randomUUID() });
    assert.ok(answer.success, JSON.stringify(answer));
    this.said = answer.sentMessage.seq;
  }

  async speak() {
    while (!this.isOver) {
      await this.say(`${this.said + 1}`);
      await pause(PACE_MS);
    }
    await this.say(END);
  }
}

async function restart(how) {
  console.log(`restart ${how}`);
  await lines.next();
}

async function crowd() {
  const listeners = [];
  const kinds = ['websocket', 'default'];
  for (let number = 0; number < 8; number += 1) {
    const rooms = ROOMS.slice(0, 1 + (number % 3));
    listeners.push(new Listener(number, number % 2 ? 'camel' : 'colon', kinds[(number >> 1) % 2], rooms));
  }
  const speakers = ROOMS.map((room) => new Speaker(room));
  for (const speaker of speakers) await speaker.come();
  for (const listener of listeners) await listener.come();
  const speaking = Promise.all(speakers.map((speaker) => speaker.speak()));
  await until('everyone hears', () => listeners.every((it) => [...it.last.values()].every((last) => last !== undefined)));
  for (const listener of listeners) listener.noise = [];
  await Promise.all(listeners.map((it) => it.endure(Math.ceil(Number(cuts) / listeners.length))));
  for (const listener of listeners) assert.deepEqual(listener.noise, [], `${listener.name} noticed somebody coming back`);
  console.log('cut off under load');
  for (const how of ports.length > 1 ? [] : ['term', 'kill', 'kill']) {
    const connects = listeners.map((it) => it.connects);
    if (how === 'kill') {
      // Some of them are on their way back when it dies.
      listeners.forEach((it) => it.wire.cut());
      await pause(below(40));
    }
    await restart(how);
    await until('everyone is back', () => listeners.every((it, at) => it.fault || (it.connects > connects[at] && it.socket.connected)));
    listeners.forEach((it) => it.check());
    await Promise.all(listeners.map((it) => it.endure(2)));
    console.log(`restarted: ${how}`);
  }
  for (const speaker of speakers) speaker.isOver = true;
  await speaking;
  await until('everyone has heard all', () => listeners.every((it) => it.fault || it.over.size === it.last.size));
  listeners.forEach((it) => it.check());
  const heard = listeners.reduce((sum, it) => sum + it.heard, 0);
  assert.ok(heard > 20 * listeners.length, `only ${heard} messages were heard`);
  listeners.forEach((it) => it.leave());
  speakers.forEach((it) => it.socket.close());
  console.log('nothing was missed and nothing came twice');
}

/** Who is lost before anything was heard gets what was said since it came; twice in a row; also over a restart. */
async function silence(dialect, kind, number) {
  const room = `quiet-${dialect}-${kind}`;
  const speaker = new Speaker(room);
  await speaker.come();
  const listener = new Listener(number, dialect, kind, [room]);
  listener.last.set(room, 0);
  await listener.come();
  for (let round = 0; round < 2; round += 1) {
    const { connects } = listener;
    await listener.lose();
    await until(`${listener.name} is back with nothing`, () => listener.fault || listener.connects > connects);
  }
  listener.wire.isDeaf = true;
  await speaker.say('1');
  let { connects } = listener;
  await listener.lose();
  await until(`${listener.name} is back`, () => listener.fault || listener.connects > connects);
  await until(`${listener.name} hears`, () => listener.fault || listener.heard === 1);
  connects = listener.connects;
  // A moment until its session is written down again.
  await pause(200);
  if (ports.length > 1) await listener.lose();
  else await restart('kill');
  await until(`${listener.name} is back`, () => listener.fault || listener.connects > connects);
  await speaker.say('2');
  await until(`${listener.name} hears`, () => listener.fault || listener.heard === 2);
  listener.check();
  listener.leave();
  speaker.socket.close();
}

/** The seed's own way, with a token kept by the application. */
async function byRequest() {
  const room = 'by-request';
  const speaker = new Speaker(room);
  await speaker.come();
  const url = () => `http://${host}:${next()}/chat`;
  const options = { auth: { token: tokens[0] }, transports: ['websocket'], forceNew: true };
  const first = io(url(), options);
  await until('it connects', () => first.connected);
  await first.emitWithAck('join:chat', { chatId: room });
  const told = new Promise((resolve) => first.once('connection:recovery-token', resolve));
  const made = await first.emitWithAck('connection:create-session', {});
  assert.equal((await told).recoveryToken, made.recoveryToken);
  first.io.engine.transport.ws.terminate();
  first.close();
  await speaker.say('while it was away');
  const second = io(url(), options);
  await until('it connects', () => second.connected);
  const queued = new Promise((resolve) => second.once('connection:queued-messages', resolve));
  const recovered = new Promise((resolve) => second.once('connection:recovered', resolve));
  const answer = await second.emitWithAck('connection:recover', { recoveryToken: made.recoveryToken });
  assert.ok(answer.success, JSON.stringify(answer));
  assert.deepEqual([answer.session.userId, answer.session.socketId, answer.session.rooms], ['listener-0', second.id, [room]]);
  assert.equal((await recovered).recovered, true);
  assert.deepEqual((await queued).messages.map((it) => it.content), ['while it was away']);
  const live = new Promise((resolve) => second.once('message:new', resolve));
  await speaker.say('and now');
  assert.equal((await live).content, 'and now');
  second.close();
  speaker.socket.close();
  console.log('recovered by request');
}

await crowd();
let number = 0;
for (const dialect of Object.keys(DIALECTS)) {
  for (const kind of ['websocket', 'default']) {
    await silence(dialect, kind, number);
    number += 1;
    console.log(`with nothing heard: ${dialect}, ${kind}`);
  }
}
await byRequest();
process.exit(0);
