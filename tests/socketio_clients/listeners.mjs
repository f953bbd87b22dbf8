// Stock clients that listen to a room, in three dialects. Run as
//
//   node listeners.mjs PACKAGES ROOM COUNT PORT:DIALECT:TOKEN …
//
// PACKAGES is a directory with node_modules. Prints `ready` when all are in the room and, when each has got COUNT messages, one line
// with what they got: for each listener a list of [seq, id, data].

import { createRequire } from 'node:module';
import { once } from 'node:events';

const [packages, room, count, ...wanted] = process.argv.slice(2);
const require = createRequire(`${packages}/`);
const { io } = require('socket.io-client-4');
const WebSocket = require('ws');
const COUNT = Number(count);

function log() {
  const got = [];
  const done = new Promise((resolve) => {
    got.add = (...message) => {
      got.push(message);
      if (got.length === COUNT) resolve();
    };
  });
  return { got, done };
}

async function raw(port, token) {
  const socket = new WebSocket(`ws://127.0.0.1:${port}/ws?token=${token}`);
  const { got, done } = log();
  const joined = new Promise((resolve, reject) => {
    socket.on('message', (text) => {
      const message = JSON.parse(text);
      if (message.type === 'room-joined') resolve();
      if (message.type === 'error') reject(new Error(message.error));
      if (message.type === 'message') got.add(message.seq, message.id, message.data);
      if (message.type === 'ping') socket.send('{"type":"pong"}');
    });
  });
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'join-room', roomId: room }));
  await joined;
  return { got, done };
}

async function socketio(port, token, dialect) {
  const socket = io(`http://127.0.0.1:${port}/chat`, { forceNew: true, auth: { token }, query: { dialect } });
  const { got, done } = log();
  const event = dialect === 'colon' ? 'message:new' : 'newMessage';
  socket.on(event, ({ seq, id, data }) => got.add(seq, id, data));
  await once(socket, 'connect');
  const answer = await (dialect === 'colon'
    ? socket.timeout(20_000).emitWithAck('join:chat', { chatId: room })
    : socket.timeout(20_000).emitWithAck('joinRoom', { roomId: room }));
  if (answer.success === false) throw new Error(answer.message);
  return { got, done };
}

const listeners = await Promise.all(wanted.map((text) => {
  const [port, dialect, token] = text.split(':');
  return dialect === 'raw' ? raw(port, token) : socketio(port, token, dialect);
}));
console.log('ready');
await Promise.all(listeners.map((it) => it.done));
console.log(JSON.stringify(listeners.map((it) => it.got)));
process.exit(0);
