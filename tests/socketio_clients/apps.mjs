// Stock clients in a namespace of the application, driven by its backend over HTTP. Run as
//
//   node apps.mjs PORTS < TOKENS     tokens of ann, bob and the backend, as a JSON array
//
// PORTS are those of servers that are one; clients and calls use them in turn. The server relays `chat *` and `draw` in `/game`.
// Prints a line for each part that went well; exits with 1 at the first that did not.

import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { createRequire } from 'node:module';
import { io as io4 } from 'socket.io-client-4';

const require = createRequire(import.meta.url);
const LIBRARIES = { 2: require('socket.io-client-2'), 3: require('socket.io-client-3').io, 4: io4 };
const ports = process.argv[2].split(',').map(Number);
const PATIENCE_MS = 20_000;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const [ann, bob, backend] = JSON.parse((await lines.next()).value);

let turn = 0;
const port = () => ports[turn++ % ports.length];

async function until(what, has) {
  const end = Date.now() + PATIENCE_MS;
  while (!has()) {
    if (Date.now() > end) throw new Error(`not in ${PATIENCE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

async function call(name, body) {
  const response = await fetch(`http://127.0.0.1:${port()}/api/v1/socketio/${name}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${backend}`, 'content-type': 'application/json' },
    body: JSON.stringify({ namespace: '/game', ...body }),
  });
  assert.equal(response.status, 200, await response.clone().text());
  return response.json();
}

/** A client that notes what it gets. An offset, if there is one, is its last argument and left out. */
function open(version, token, options = {}) {
  const own = version === 2 ? { query: { token } } : { auth: { token } };
  const socket = LIBRARIES[version](`http://127.0.0.1:${port()}/game`, { forceNew: true, ...own, ...options });
  const heard = [];
  for (const name of ['chat message', 'draw', 'news', 'image', 'late']) {
    socket.on(name, (...args) => {
      if (/^\d+-\d+-[0-9a-f]+-\d+(-[0-9a-f]+)?$/.test(args.at(-1))) args.pop();
      heard.push([name, ...args]);
    });
  }
  return Object.assign(socket, { heard });
}

const connected = (socket) => until('connect', () => socket.connected);
const base64 = (bytes) => ({ $binary: Buffer.from(bytes).toString('base64') });

async function conversation(version, options) {
  const [a, b, c] = [open(version, ann, options), open(4, bob), open(version, bob, options)];
  await Promise.all([a, b, c].map(connected));
  const room = `room-${version}-${JSON.stringify(options)}`;
  await call('join', { sockets: [a.id, b.id], join: [room] });
  // A join through one server is in force at the other when an event that was sent after it has come.
  await call('emit', { sockets: [a.id, b.id], event: 'news', args: [0] });
  await until('the first news', () => a.heard.length && b.heard.length);

  a.emit('chat message', 'hi', { deep: [1, 'ü', null] });
  await until('the chat', () => b.heard.length === 2);
  assert.deepEqual(b.heard[1], ['chat message', 'hi', { deep: [1, 'ü', null] }]);
  let acked;
  a.emit('draw', Buffer.from([1, 2, 3]), 'x', { more: Buffer.from([4]) }, (...args) => (acked = args));
  await until('the drawing and its ack', () => b.heard.length === 3 && acked);
  assert.deepEqual([...b.heard[2][1]], [1, 2, 3]);
  assert.deepEqual([...b.heard[2][3].more], [4]);
  assert.deepEqual(acked, []);
  let refused;
  a.emit('unknown', 1, (answer) => (refused = answer));
  await until('a refusal', () => refused);
  assert.equal(refused.error.code, 'UNKNOWN_TYPE');

  await call('emit', { rooms: [room], except: [b.id], event: 'image', args: ['png', base64([0, 255])], volatile: true });
  await until('the image', () => a.heard.length === 2);
  assert.deepEqual([...a.heard[1][2]], [0, 255]);

  for (const socket of [a, b]) {
    socket.on('question', (word, bytes, answer) => answer(`${word}!`, Buffer.from([bytes[0] + 1])));
  }
  const answers = await call('emit', { rooms: [room], event: 'question', args: ['why', base64([7])], ackTimeoutMs: 15_000 });
  assert.deepEqual([answers.reached, answers.timedOut], [2, false]);
  const sorted = (list) => [...list].sort();
  assert.deepEqual(sorted(answers.acks.map((ack) => ack.socket)), sorted([a.id, b.id]));
  for (const ack of answers.acks) assert.deepEqual(ack.args, ['why!', base64([8])]);
  const none = await call('emit', { sockets: [c.id], event: 'question2', ackTimeoutMs: 200 });
  assert.deepEqual(none, { reached: 1, timedOut: true, acks: [] });

  await call('leave', { sockets: [b.id], leave: [room] });
  await call('emit', { event: 'news', args: ['all'] });
  await call('emit', { rooms: [room], event: 'news', args: ['room'] });
  await call('emit', { event: 'late' });
  await until('the end', () => [a, b, c].every((socket) => socket.heard.at(-1)?.[0] === 'late'));
  assert.deepEqual(a.heard.slice(2), [['news', 'all'], ['news', 'room'], ['late']]);
  assert.deepEqual(b.heard.slice(3), [['news', 'all'], ['late']]);
  assert.deepEqual(c.heard, [['news', 'all'], ['late']]);

  let reason;
  a.on('disconnect', (why) => (reason = why));
  await call('disconnect', { sockets: [a.id], close: true });
  await until('the end of one', () => reason);
  assert.ok(['io server disconnect', 'transport close'].includes(reason), reason);
  [a, b, c].forEach((socket) => socket.disconnect());
}

/** Returns once every server knows that a connection is lost: none asks it any more, and what each says after that comes later. */
async function isLost(id) {
  const asked = { sockets: [id], event: 'are you there', ackTimeoutMs: 1 };
  let reached = 1;
  while (reached > 0) ({ reached } = await call('emit', asked));
  for (const _ of ports) await call('emit', asked);
}

async function recovery(options) {
  const socket = open(4, ann, { reconnection: false, ...options });
  await connected(socket);
  const { id } = socket;
  await call('join', { sockets: [id], join: ['kept'] });
  await call('emit', { rooms: ['kept'], event: 'news', args: [1] });
  await until('news', () => socket.heard.length === 1);
  let number = 1;
  for (let cut = 0; cut < 5; cut += 1) {
    let lost = false;
    socket.once('disconnect', () => (lost = true));
    socket.io.engine.close();
    await until('a loss', () => lost);
    await isLost(id);
    // It comes back by another server if there is one.
    socket.io.uri = `http://127.0.0.1:${port()}`;
    await call('emit', { rooms: ['kept'], event: 'news', args: [++number, base64([number])] });
    await call('emit', { rooms: ['elsewhere'], event: 'news', args: ['not for it'] });
    socket.connect();
    await until('a return', () => socket.connected);
    assert.equal(socket.recovered, true);
    assert.equal(socket.id, id);
    await call('emit', { rooms: [id], event: 'news', args: [++number] });
    await until('all news', () => socket.heard.length === number);
  }
  assert.deepEqual(socket.heard.map(([, value]) => value), Array.from({ length: number }, (_, at) => at + 1));
  assert.deepEqual([...socket.heard[1][2]], [2]);
  socket.disconnect();
}

for (const version of [4, 3, 2]) {
  for (const transports of [['polling', 'websocket'], ['websocket'], ['polling']]) {
    await conversation(version, { transports });
    console.log(`socket.io-client ${version}, ${transports}`);
  }
}
await recovery({ transports: ['websocket'] });
await recovery({});
console.log('recovered');
process.exit(0);
