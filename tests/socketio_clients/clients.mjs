// Stock clients in conversation with a server, each with the transports that it may use. Run as
//
//   node clients.mjs suite http://HOST:PORT                 a server started with --conformance
//   node clients.mjs users http://HOST:PORT,… TOKEN OTHER   servers for users that are one, where joining makes rooms, and
//                                                           tokens of two
//
// With several servers each client is at another one than the one before it, and comes back to another one.
//
// Prints a line for each conversation that went well; exits with 1 at the first that did not.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { Socket as EngineSocket } from 'engine.io-client';
import { io as io3 } from 'socket.io-client-3';
import { io as io4 } from 'socket.io-client-4';

const require = createRequire(import.meta.url);
const io2 = require('socket.io-client-2');

const PATIENCE_MS = 20_000;

const CLIENTS = { 4: io4, 3: io3, 2: io2 };

/** What a client may be told of transports; nothing: it polls first, then moves to a WebSocket. */
const TRANSPORTS = { default: {}, websocket: { transports: ['websocket'] }, polling: { transports: ['polling'] } };

/** Waits for one event; its arguments. */
function hear(emitter, name, failures = ['connect_error', 'error']) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${name} in ${PATIENCE_MS} ms`)), PATIENCE_MS);
    const end = (settle) => (...args) => {
      clearTimeout(timer);
      settle(args);
    };
    emitter.once(name, end(resolve));
    for (const failure of failures) {
      if (failure !== name) emitter.once(failure, end((args) => reject(args[0] instanceof Error ? args[0] : new Error(`${failure}: ${args[0]}`))));
    }
  });
}

/** Waits for an event whose argument is the one that is meant: a sender hears its own, too. */
function hearOf(emitter, name, isMeant) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no such ${name} in ${PATIENCE_MS} ms`)), PATIENCE_MS);
    emitter.on(name, function listen(heard) {
      if (!isMeant(heard)) return;
      clearTimeout(timer);
      emitter.off(name, listen);
      resolve(heard);
    });
  });
}

/** Asks for an answer by ack. */
function ask(socket, ...args) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ack of ${args[0]}`)), PATIENCE_MS);
    socket.emit(...args, (...answer) => {
      clearTimeout(timer);
      resolve(answer);
    });
  });
}

/** Waits until the client is on the transport that it is to end up on. */
async function settled(socket, kind) {
  const expected = kind === 'default' ? 'websocket' : kind;
  const engine = socket.io.engine;
  if (engine.transport.name !== expected) await hear(engine, 'upgrade', ['upgradeError', 'close']);
  assert.equal(engine.transport.name, expected);
}

/** What a client of a version sends of who it is. */
function credentials(version, auth) {
  return version === '2' ? { query: auth } : { auth };
}

async function suiteEvents(url, version, kind) {
  const io = CLIENTS[version];
  const options = { ...TRANSPORTS[kind], ...credentials(version, { token: '123' }), forceNew: true };
  const socket = io(url, options);
  const [auth] = await hear(socket, 'auth');
  assert.deepEqual(auth, version === '2' ? {} : { token: '123' });
  const back = hear(socket, 'message-back');
  socket.emit('message', 1, '2', { 3: [true] }, 'ünï🦀');
  assert.deepEqual(await back, [1, '2', { 3: [true] }, 'ünï🦀']);
  const bytes = hear(socket, 'message-back');
  socket.emit('message', Buffer.from([1, 2, 3]), 'between', Buffer.from([4, 5, 6]));
  assert.deepEqual((await bytes).map((it) => (typeof it === 'string' ? it : [...new Uint8Array(it)])), [[1, 2, 3], 'between', [4, 5, 6]]);
  assert.deepEqual(await ask(socket, 'message-with-ack', 1, '2', { 3: [false] }), [1, '2', { 3: [false] }]);
  const [acked] = await ask(socket, 'message-with-ack', Buffer.from([7, 8]));
  assert.deepEqual([...new Uint8Array(acked)], [7, 8]);
  await settled(socket, kind);
  // Longer than both heartbeat intervals.
  const until = Date.now() + 1_200;
  for (let number = 0; Date.now() < until; number += 1) {
    assert.deepEqual(await ask(socket, 'message-with-ack', number), [number]);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  const large = 'x'.repeat(300_000);
  assert.deepEqual(await ask(socket, 'message-with-ack', large), [large]);
  const custom = io(`${url}/custom`, { ...options, forceNew: false, multiplex: true });
  await hear(custom, 'auth');
  const random = io(`${url}/random`, { ...options });
  const [error] = await hear(random, version === '2' ? 'error' : 'connect_error', []);
  assert.equal(error.message ?? error, 'Invalid namespace');
  random.close();
  custom.close();
  assert.deepEqual(await ask(socket, 'message-with-ack', 'still here'), ['still here']);
  const gone = hear(socket, 'disconnect');
  socket.close();
  assert.deepEqual((await gone)[0], 'io client disconnect');
}

async function suiteEngine(url, kind) {
  const socket = new EngineSocket(url, { path: '/engine.io/', ...TRANSPORTS[kind] });
  await hear(socket, 'open', ['error', 'close']);
  for (const message of ['hello', '€ 🦀', 'x'.repeat(200_000)]) {
    const back = hear(socket, 'message', ['error', 'close']);
    socket.send(message);
    assert.equal((await back)[0], message);
  }
  const bytes = hear(socket, 'message', ['error', 'close']);
  socket.send(new Uint8Array([1, 2, 255]));
  assert.deepEqual([...new Uint8Array((await bytes)[0])], [1, 2, 255]);
  if (kind === 'default' && socket.transport.name !== 'websocket') await hear(socket, 'upgrade', ['upgradeError', 'close']);
  const many = Array.from({ length: 500 }, (_, number) => `message ${number}`);
  const heard = [];
  socket.on('message', (data) => heard.push(data));
  for (const message of many) socket.send(message);
  const until = Date.now() + PATIENCE_MS;
  while (heard.length < many.length && Date.now() < until) await hear(socket, 'message', ['error', 'close']);
  assert.deepEqual(heard, many);
  const closed = hear(socket, 'close', []);
  socket.close();
  await closed;
}

/** Asks for something that is granted, where the client lets it out, and for something that is not. */
async function talk(socket, version) {
  // Clients of version 2 keep events of this name to themselves.
if (version !== '2') {
    const [pong] = await ask(socket, ...(socket.nsp === '/' ? ['ping', [1]] : ['heartbeat']));
    assert.ok(socket.nsp === '/' ? Date.parse(pong.timestamp) && pong.data[0] === 1 : pong.success);
  }
  const [refusal] = await ask(socket, 'offer', { roomId: 'nowhere', toPeerId: 'nobody', offer: {} });
  assert.equal(refusal.code, 'ROOM_NOT_FOUND');
}

let came = 0;
/** Where the next client connects. */
function next(urls) {
  came += 1;
  return urls[came % urls.length];
}

/** Two in a room: each hears the other. */
async function meet(one, other, version, room) {
  for (const socket of [one, other]) {
    const [joined] = await ask(socket, 'join:chat', { chatId: room });
    assert.equal(joined.roomInfo?.chatId, room, JSON.stringify(joined));
  }
  for (const [from, to] of [[one, other], [other, one]]) {
    const heard = hearOf(to, 'message:new', (it) => it.content === `from ${from.id}`);
    const [sent] = await ask(from, 'message:send', { chatId: room, content: `from ${from.id}`, type: 'text' });
    assert.deepEqual(await heard, sent.sentMessage);
    // Clients of version 2 make up their names in a namespace.
    if (version === '2') continue;
    const offered = hear(to, 'offer');
    from.emit('offer', { roomId: room, toPeerId: to.id, offer: { type: 'offer', sdp: `from ${from.id}` } });
    assert.equal((await offered)[0].offer.sdp, `from ${from.id}`);
  }
}

async function users(urls, version, kind, token, otherToken) {
  const io = CLIENTS[version];
  const options = { ...TRANSPORTS[kind], ...credentials(version, { token }), forceNew: true, reconnectionDelay: 50 };
  const url = next(urls);
  const main = io(url, options);
  await hear(main, 'connect');
  const chat = version === '2' ? io(`${url}/chat?token=${token}`, { ...options, forceNew: true }) : main.io.socket('/chat', options);
  // Once more, as applications do; it is connected once.
  chat.connect();
  if (!chat.connected) await hear(chat, 'connect');
  assert.notEqual(main.id, chat.id);
  await talk(main, version);
  await talk(chat, version);
  await settled(main, kind);
  const room = `room-${version}-${kind}`;
  const others = { ...options, ...credentials(version, { token: otherToken }) };
  const other = version === '2' ? io(`${next(urls)}/chat?token=${otherToken}`, others) : io(`${next(urls)}/chat`, others);
  await hear(other, 'connect');
  await meet(chat, other, version, room);
  // The connections break, and the clients come back by themselves.
  for (const socket of version === '2' ? [main, chat] : [main]) {
    const gone = hear(socket, 'disconnect');
    const back = hear(socket, 'connect');
    socket.io.uri = socket.io.uri.replace(/^http:..[^/?]*/, next(urls));
    socket.io.engine.close();
    await gone;
    await back;
  }
  await talk(main, version);
  if (!chat.connected) await hear(chat, 'connect');
  await meet(chat, other, version, room);
  for (const socket of [main, chat, other]) socket.close();
  const refused = io(url, { ...options, ...credentials(version, { token: 'x' }), reconnection: false });
  const [error] = await hear(refused, version === '2' ? 'error' : 'connect_error', []);
  if (version !== '2') assert.equal(error.data.code, 'UNAUTHENTICATED');
  refused.close();
}

const [, , part, list, ...tokens] = process.argv;
const urls = list.split(',');
for (const kind of Object.keys(TRANSPORTS)) {
  for (const version of Object.keys(CLIENTS)) {
    if (part === 'suite') await suiteEvents(list, version, kind);
    else await users(urls, version, kind, ...tokens);
    console.log(`socket.io-client ${version}, ${kind}`);
  }
  if (part === 'suite') {
    await suiteEngine(list, kind);
    console.log(`engine.io-client, ${kind}`);
  }
}
process.exit(0);
