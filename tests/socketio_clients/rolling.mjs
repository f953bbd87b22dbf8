// Stock clients with default options, in rooms where others talk, too, while one server after the other is replaced. Run as
//
//   node rolling.mjs HOST PORTS ROOMS < TOKENS     ports and rooms with commas between them; a JSON array of tokens: one
//                                                  speaker for each room, and as many listeners as are left
//
// The servers are one. Before each client stands what a load balancer is: it leads to one server as long as that takes
// connections, then to the next. Prints `ready` when everybody is in and hears, `lost WHO WHY` and `back WHO` as it
// happens, and, after a line has been read, `whole` when everybody has heard everything that was said until then; exits
// with 1 at the first message that is missing, comes twice or out of order, the first client that was not recovered, and
// the first that hears of somebody who came or left.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { connect as dial, createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { io } from 'socket.io-client-4';

const [, , host, portList, roomList] = process.argv;
const ports = portList.split(',').map(Number);
const rooms = roomList.split(',');
const PATIENCE_MS = 30_000;
/** Between two messages of a speaker. */
const PACE_MS = 50;

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const tokens = JSON.parse((await lines.next()).value);

const DIALECTS = {
  colon: { join: (room) => ['join:chat', { chatId: room }], message: 'message:new', roomOf: (it) => it.chatId, noise: ['user:joined', 'user:left'], joined: 'room:joined' },
  camel: { join: (room) => ['joinRoom', room], message: 'newMessage', roomOf: (it) => it.roomId, noise: ['userJoinedRoom', 'userLeftRoom'], joined: 'joinedRoom' },
};

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

async function until(what, has) {
  const end = Date.now() + PATIENCE_MS;
  while (!has()) {
    if (Date.now() > end) throw new Error(`not in ${PATIENCE_MS} ms: ${what}`);
    await pause(5);
  }
}

/** What leads a client to a server that is there. */
async function balancer(number) {
  let at = number % ports.length;
  const lead = (near, tries) => {
    const far = dial({ host, port: ports[at], noDelay: true });
    let isOpen = false;
    far.on('connect', () => {
      isOpen = true;
      near.pipe(far).pipe(near);
    });
    far.on('error', () => {
      if (isOpen || tries === 0 || near.destroyed) return near.destroy();
      at = (at + 1) % ports.length;
      lead(near, tries - 1);
    });
    far.on('close', () => isOpen && near.destroy());
    near.on('close', () => far.destroy());
  };
  const server = createServer((near) => {
    near.setNoDelay(true);
    near.on('error', () => near.destroy());
    lead(near, 2 * ports.length);
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${server.address().port}`;
}

class Client {
  constructor(number, dialect, kind, own) {
    this.number = number;
    this.name = `${dialect}, ${kind}, ${number}`;
    this.dialect = dialect;
    this.words = DIALECTS[dialect];
    this.options = kind === 'websocket' ? { transports: ['websocket'] } : {};
    this.last = new Map(own.map((room) => [room, undefined]));
    this.connects = 0;
    this.isSettled = false;
  }

  fail(why) {
    console.error(`${this.name}: ${why}`);
    process.exit(1);
  }

  async come() {
    const token = tokens[this.number];
    const auth = this.dialect === 'colon' ? { auth: { token } } : { query: { token } };
    this.socket = io(`${await balancer(this.number)}/chat`, { ...auth, ...this.options, forceNew: true });
    this.socket.on('connect', () => {
      this.connects += 1;
      this.id ??= this.socket.id;
      if (this.connects === 1) return;
      if (this.id !== this.socket.id) this.fail('its id is another one');
      if (this.socket.recovered !== true) this.fail('it was not recovered');
      console.log(`back ${this.number}`);
    });
    this.socket.on('disconnect', (why) => console.log(`lost ${this.number} ${why}`));
    this.socket.on('connect_error', (error) => {
      if (!this.socket.active) this.fail(`it is refused: ${error.message}`);
    });
    this.socket.on(this.words.message, (message) => this.hear(message));
    for (const name of this.words.noise) {
      this.socket.on(name, (it) => this.isSettled && this.fail(`it hears ${name} ${JSON.stringify(it)}`));
    }
    await until(`${this.name} connects`, () => this.socket.connected);
    for (const room of this.last.keys()) {
      const joined = new Promise((resolve) => this.socket.once(this.words.joined, resolve));
      this.socket.emit(...this.words.join(room));
      await joined;
    }
  }

  hear(message) {
    const room = this.words.roomOf(message);
    const last = this.last.get(room);
    if (last !== undefined && message.seq !== last + 1) this.fail(`${message.seq} of ${room} after ${last}`);
    this.last.set(room, message.seq);
  }
}

/** Says something again and again; what is not acknowledged is said again under the same name. */
class Speaker extends Client {
  constructor(number) {
    super(number, 'colon', number % 2 ? 'websocket' : 'default', [rooms[number]]);
    this.isOver = false;
    this.said = 0;
  }

  async speak() {
    while (!this.isOver) {
      await this.say();
      await pause(PACE_MS);
    }
    await this.say();
  }

  async say() {
    const chatId = rooms[this.number];
    const content = { chatId, content: `${this.name} says ${this.said + 1}`, clientMessageId: randomUUID() };
    for (const end = Date.now() + PATIENCE_MS; ;) {
      try {
        const answer = await this.socket.timeout(2_000).emitWithAck('message:send', content);
        if (answer.success) {
          this.said = answer.sentMessage.seq;
          return;
        }
        if (!['STORAGE_UNAVAILABLE', 'OVERLOADED'].includes(answer.code)) this.fail(JSON.stringify(answer));
      } catch {
        // It was lost on the way; the same once more.
      }
      if (Date.now() > end) this.fail('it is not answered');
      await pause(20);
    }
  }
}

const speakers = rooms.map((_, number) => new Speaker(number));
const listeners = [];
for (let number = rooms.length; number < tokens.length; number += 1) {
  const own = [rooms[number % rooms.length], rooms[(number + 1) % rooms.length]];
  listeners.push(new Client(number, (number >> 1) % 2 ? 'camel' : 'colon', number % 2 ? 'websocket' : 'default', own));
}
const all = [...speakers, ...listeners];
for (const client of all) await client.come();
const speaking = Promise.all(speakers.map((it) => it.speak()));
await until('everybody hears', () => all.every((it) => [...it.last.values()].every((last) => last !== undefined)));
for (const client of all) client.isSettled = true;
console.log('ready');
await lines.next();
for (const speaker of speakers) speaker.isOver = true;
await speaking;
const ends = new Map(speakers.map((it) => [rooms[it.number], it.said]));
await until('everybody has heard all', () => all.every((it) => [...it.last].every(([room, last]) => last >= ends.get(room))));
assert.ok([...ends.values()].every((end) => end > 0));
console.log('whole');
process.exit(0);
