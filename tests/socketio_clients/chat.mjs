// Stock clients of a chat and a whiteboard whose backend answers hooks. Run as
//
//   node chat.mjs PORTS     of servers that are one; clients connect to them in turn, as guests
//
// Prints a line for each part that went well; exits with 1 at the first that did not.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { io as io4 } from 'socket.io-client-4';

const require = createRequire(import.meta.url);
const LIBRARIES = { 2: require('socket.io-client-2'), 3: require('socket.io-client-3').io, 4: io4 };
const ports = process.argv[2].split(',').map(Number);
const PATIENCE_MS = 20_000;
let turn = 0;

function open(version, options = {}) {
  const port = ports[turn++ % ports.length];
  return LIBRARIES[version](`http://127.0.0.1:${port}`, { forceNew: true, ...options });
}

function hear(socket, event) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${event} in ${PATIENCE_MS} ms`)), PATIENCE_MS);
    socket.once(event, (...args) => {
      clearTimeout(timer);
      resolve(args[0]);
    });
  });
}

async function chat(version) {
  const [ann, bob] = [open(version), open(4)];
  await Promise.all([hear(ann, 'connect'), hear(bob, 'connect')]);
  const annIn = hear(ann, 'login');
  ann.emit('add user', 'Ann');
  assert.deepEqual(await annIn, { numUsers: 1 });
  const [bobIn, joined] = [hear(bob, 'login'), hear(ann, 'user joined')];
  bob.emit('add user', 'Bob');
  assert.deepEqual(await bobIn, { numUsers: 2 });
  assert.deepEqual(await joined, { username: 'Bob', numUsers: 2 });

  const typing = hear(bob, 'typing');
  ann.emit('typing');
  assert.deepEqual(await typing, { username: 'Ann' });
  const messages = [];
  bob.on('new message', ({ message }) => messages.push(message));
  const wanted = Array.from({ length: 20 }, (_, at) => `message ${at}`);
  wanted.forEach((message) => ann.emit('new message', message));
  const stopped = hear(bob, 'stop typing');
  ann.emit('stop typing');
  await stopped;
  assert.deepEqual(messages, wanted);

  const drawing = hear(ann, 'drawing');
  bob.emit('drawing', { x0: 0, y0: 0.5, x1: 1, y1: 1, color: 'red' });
  assert.deepEqual(await drawing, { x0: 0, y0: 0.5, x1: 1, y1: 1, color: 'red' });

  const echoed = await new Promise((resolve) => ann.emit('echo', Buffer.from([1, 2]), { a: [null] }, (...args) => resolve(args)));
  assert.deepEqual([[...echoed[0]], echoed[1]], [[1, 2], { a: [null] }]);

  const left = hear(ann, 'user left');
  bob.disconnect();
  assert.deepEqual(await left, { username: 'Bob', numUsers: 1 });
  const gone = open(4);
  await hear(gone, 'connect');
  const last = hear(gone, 'user left');
  ann.disconnect();
  assert.deepEqual(await last, { username: 'Ann', numUsers: 0 });
  gone.disconnect();
}

for (const version of [4, 3, 2]) {
  await chat(version);
  console.log(`chat with socket.io-client ${version}`);
}
const banned = open(4, { auth: { name: 'banned' } });
const error = await hear(banned, 'connect_error');
assert.deepEqual([error.message, error.data], ['You are banned', { code: 'BANNED' }]);
console.log('refused');
process.exit(0);
