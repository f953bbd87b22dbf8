// npm's `@socket.io/redis-emitter` and a manager of PyPI's `python-socketio` act on clients of a namespace of the application. Run as
//
//   node emitters.mjs PORTS REDIS PYTHON < TOKENS     tokens of two users and of a backend
//
// PORTS are those of servers that share the Redis; PYTHON is an interpreter with python-socketio. Prints a line for each part that
// went well; exits with 1 at the first that did not.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { createClient } from '@redis/client';
import { Emitter } from '@socket.io/redis-emitter';
import { io } from 'socket.io-client-4';

const [ports, redis, python] = [process.argv[2].split(','), process.argv[3], process.argv[4]];
const PATIENCE_MS = 20_000;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const [ann, bob, backend] = JSON.parse((await lines.next()).value);

async function until(what, has) {
  const end = Date.now() + PATIENCE_MS;
  while (!has()) {
    if (Date.now() > end) throw new Error(`not in ${PATIENCE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

async function call(port, name, body) {
  const response = await fetch(`http://127.0.0.1:${port}/api/v1/socketio/${name}`, {
    method: 'POST',
    headers: { authorization: `Bearer ${backend}`, 'content-type': 'application/json' },
    body: JSON.stringify(body),
  });
  assert.equal(response.status, 200, await response.clone().text());
  return response.json();
}

/** Returns once every server knows that a connection is lost: none asks it any more, and what each says after that comes later. */
async function isLost(id) {
  const asked = { namespace: '/game', sockets: [id], event: 'are you there', ackTimeoutMs: 1 };
  let reached = 1;
  while (reached > 0) ({ reached } = await call(ports[0], 'emit', asked));
  for (const port of ports) await call(port, 'emit', asked);
}

/** A client that notes what it gets, without the offset that is the last argument. */
function open(at, token) {
  const url = `http://127.0.0.1:${ports[at % ports.length]}/game`;
  const options = { auth: { token }, forceNew: true, transports: ['websocket'], reconnection: false };
  const socket = io(url, options);
  const heard = [];
  socket.onAny((event, ...args) => heard.push([event, ...args.slice(0, -1)]));
  return Object.assign(socket, { heard, names: () => heard.map(([event, value]) => `${event} ${value}`) });
}

const [a, b] = [open(0, ann), open(1, bob)];
await until('connect', () => a.connected && b.connected);

/** Acts that publish, and what the clients then have; the same acts by each library. */
async function conversation(library, emitter) {
  a.heard.length = b.heard.length = 0;
  const room = `room of ${library}`;
  await emitter.join(a.id, room);
  await emitter.emit('all', ['text', { deep: [1, 1.5, null, 'ü'] }]);
  await until('an event to all', () => a.heard.length === 1 && b.heard.length === 1);
  for (const client of [a, b]) assert.deepEqual(client.heard[0], ['all', 'text', { deep: [1, 1.5, null, 'ü'] }]);
  await emitter.emit('one', [Buffer.from([0, 255]), { more: Buffer.from([7]) }], { room });
  await emitter.emit('others', ['b'], { except: a.id });
  await emitter.leave(a.id, room);
  await emitter.emit('one', ['nobody'], { room });
  await emitter.emit('end', []);
  await until('the end', () => [a, b].every((client) => client.heard.at(-1)[0] === 'end'));
  assert.deepEqual(a.heard.map(([event]) => event), ['all', 'one', 'end']);
  assert.deepEqual(b.heard.map(([event]) => event), ['all', 'others', 'end']);
  assert.deepEqual([...a.heard[1][1]], [0, 255]);
  assert.deepEqual([...a.heard[1][2].more], [7]);

  // Recovery: the events of emitters have positions, and those of the same text are not the same.
  const { id } = a;
  for (let turn = 1; turn <= 3; turn += 1) {
    let lost = false;
    a.once('disconnect', () => (lost = true));
    a.io.engine.close();
    await until('a loss', () => lost);
    await isLost(id);
    // It comes back by another server if there is one.
    a.io.uri = `http://127.0.0.1:${ports[turn % ports.length]}`;
    a.heard.length = b.heard.length = 0;
    await emitter.emit('tick', [1]);
    await emitter.emit('tick', [1]);
    await until('ticks elsewhere', () => b.heard.length === 2);
    a.connect();
    await until('a return', () => a.connected);
    assert.deepEqual([a.recovered, a.id], [true, id]);
    await emitter.emit('tick', [2]);
    await until('all ticks', () => a.heard.length >= 3 && b.heard.length === 3);
    assert.deepEqual(a.names(), ['tick 1', 'tick 1', 'tick 2']);
  }

  let reason;
  b.once('disconnect', (why) => (reason = why));
  await emitter.disconnect(b.id);
  await until('the end of one', () => reason);
  assert.equal(reason, 'io server disconnect');
  b.connect();
  await until('another connect', () => b.connected);
  console.log(library);
}

const client = createClient({ url: redis });
await client.connect();
const npm = new Emitter(client).of('/game');
await conversation('@socket.io/redis-emitter', {
  emit: (event, args, { room, except } = {}) => {
    const to = room ? npm.to(room) : npm;
    return (except ? to.except(except) : to).emit(event, ...args);
  },
  join: (id, room) => npm.in(id).socketsJoin(room),
  leave: (id, room) => npm.in(id).socketsLeave(room),
  disconnect: (id) => npm.in(id).disconnectSockets(),
});

// Several rooms, and events that may be missed.
npm.in([a.id, b.id]).socketsJoin(['x', 'y']);
npm.to(['x', 'y']).volatile.emit('both', 1);
await until('one for both', () => [a, b].every((socket) => socket.names().includes('both 1')));
npm.in('y').disconnectSockets(true);
await until('the end of both connections', () => !a.connected && !b.connected);
[a, b].forEach((socket) => socket.connect());
await until('two returns', () => a.connected && b.connected);
console.log('rooms, volatile, close');

// Publications that nobody can read, and those for others, change nothing.
for (const [channel, body] of [
  ['socket.io#/game#', 'x'], ['socket.io#/game#', ''], ['socket.io-request#/game#', '{'], ['socketio', '{}'],
  ['socketio', Buffer.from([0x80, 4, 0x95])], ['socket.io#/game#', Buffer.from([0xdd, 255, 255, 255, 255])],
  ['socket.io-request#/game#', JSON.stringify({ uid: 'emitter', type: 6, data: ['ping'] })],
]) {
  await client.publish(channel, body);
}
new Emitter(client).of('/other').emit('to others');
new Emitter(client, { key: 'elsewhere' }).of('/game').emit('to others');

const process_ = spawn(python, ['emitter.py', redis], { stdio: ['pipe', 'pipe', 'inherit'] });
const answers = createInterface({ input: process_.stdout })[Symbol.asyncIterator]();
const base64 = (_, value) => (value?.type === 'Buffer' ? { $binary: Buffer.from(value.data).toString('base64') } : value);
async function ask(...call) {
  process_.stdin.write(`${JSON.stringify(call, base64)}\n`);
  assert.equal((await answers.next()).value, 'done');
}
await conversation('python-socketio', {
  emit: (event, args, { room = null, except = null } = {}) => ask('emit', event, args, room, except),
  join: (id, room) => ask('enter_room', id, room),
  leave: (id, room) => ask('leave_room', id, room),
  disconnect: (id) => ask('disconnect', id),
});
await ask('enter_room', a.id, 'closed');
await ask('close_room', 'closed');
await ask('emit', 'gone', [], 'closed', null);
await ask('emit', 'end', [], null, null);
await until('the end', () => a.heard.at(-1)?.[0] === 'end');
assert.ok(!a.heard.some(([event]) => event === 'gone' || event === 'to others'));
process_.stdin.end();
console.log('close_room');
process.exit(0);
