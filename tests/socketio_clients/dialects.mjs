// The client code of those who wrote for each dialect, as they wrote it, with stock clients of each version. Run as
//
//   node dialects.mjs http://HOST:PORT,… ADA BOB ADMIN    servers that are one, where joining makes rooms, and tokens of
//                                                         three users
//
// With several servers each client is at another one than the one before it, and asks another one by HTTP.
//
// Prints a line for each conversation that went well; exits with 1 at the first that did not.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { io as io3 } from 'socket.io-client-3';
import { io as io4 } from 'socket.io-client-4';

const CLIENTS = { 2: createRequire(import.meta.url)('socket.io-client-2'), 3: io3, 4: io4 };

const [, , list, ada, bob, admin] = process.argv;
const urls = list.split(',');

const TRANSPORTS = { default: {}, websocket: { transports: ['websocket'] }, polling: { transports: ['polling'] } };

let came = 0;
/** Where the next one connects, and the next request goes. */
function next() {
  came += 1;
  return urls[came % urls.length];
}

const PATIENCE_MS = 20_000;

/** Waits until something has come about. */
async function until(what, has) {
  const end = Date.now() + PATIENCE_MS;
  while (!has()) {
    assert.ok(Date.now() < end, `not in ${PATIENCE_MS} ms: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Notes what a socket hears, by name. */
function note(socket, ...names) {
  const heard = Object.fromEntries(names.map((name) => [name, []]));
  for (const name of names) socket.on(name, (data) => heard[name].push(data));
  return heard;
}

/** The main namespace: messages to users come in it. */
async function notify(io, version, kind) {
  const socket = io(next(), { extraHeaders: { Authorization: `Bearer ${ada}` }, forceNew: true, ...TRANSPORTS[kind] });
  const heard = note(socket, 'connect', 'authenticated', 'message', 'pong');
  await until('authenticated', () => heard.connect.length && heard.authenticated.length);
  assert.equal(heard.authenticated[0].userId, 'ada');
  assert.equal(heard.authenticated[0].socketId, socket.id);
  // Clients of version 2 keep events of this name to themselves.
  if (version !== '2') {
    socket.emit('ping');
    await until('pong', () => heard.pong.length);
  }
  const body = JSON.stringify({ userId: 'ada', type: 'chat', data: { message: 'Hello!', sender: 'system' } });
  const headers = { Authorization: `Bearer ${admin}`, 'Content-Type': 'application/json' };
  const answer = await fetch(`${next()}/websocket/message/user`, { method: 'POST', headers, body });
  assert.equal(answer.status, 200);
  await until('message', () => heard.message.length);
  assert.equal(heard.message[0].type, 'chat');
  assert.deepEqual(heard.message[0].data, { message: 'Hello!', sender: 'system' });
  socket.close();
}

class WebSocketClient {
  constructor(io, version, kind, url, token) {
    const auth = version === '2' ? { query: { token } } : { auth: { token } };
    this.socket = io(`${url}/chat`, { ...auth, forceNew: true, ...TRANSPORTS[kind] });
    this.heard = note(this.socket, 'connect', 'message:new', 'message:sent', 'user:typing', 'user:joined', 'room:joined', 'message:read', 'users:online', 'room:online-update');
  }

  joinRoom(chatId) {
    return new Promise((resolve, reject) => {
      this.socket.emit('join:chat', { chatId }, (response) => {
        if (response.success) resolve(response);
        else reject(new Error(response.message));
      });
    });
  }

  sendMessage(chatId, content, type = 'text') {
    return new Promise((resolve, reject) => {
      this.socket.emit('message:send', { chatId, content, type }, (response) => {
        if (response.success) resolve(response);
        else reject(new Error(response.message));
      });
    });
  }

  setTyping(chatId, isTyping) {
    this.socket.emit('message:typing', { chatId, isTyping });
  }

  disconnect() {
    this.socket.disconnect();
  }
}

/** `/chat` in `camel`, with the seed's way of coming back. */
function camel(io, version, kind, url, token, room) {
  const socket = io(`${url}/chat`, {
    query: { token },
    reconnection: true,
    reconnectionAttempts: Infinity,
    reconnectionDelay: 100,
    reconnectionDelayMax: 1000,
    randomizationFactor: 0.5,
    forceNew: true,
    ...TRANSPORTS[kind],
  });
  const client = { socket, last: undefined, reconnected: 0 };
  client.heard = note(socket, 'connect', 'joinedRoom', 'leftRoom', 'messageSent', 'newMessage', 'userTyping', 'syncComplete', 'messageRead', 'error');
  socket.on('newMessage', (message) => { client.last = message.id; });
  // Since version 3 it is the manager that tells of this.
  (version === '2' ? socket : socket.io).on('reconnect', () => {
    client.reconnected += 1;
    socket.emit('joinRoom', room);
    socket.emit('syncMessages', { roomId: room, lastMessageId: client.last });
  });
  return client;
}

async function chat(io, version, kind) {
  const room = `room-${version}-${kind}`;
  const colon = new WebSocketClient(io, version, kind, next(), ada);
  const joined = await colon.joinRoom(room);
  assert.equal(joined.message, 'Joined chat successfully');
  assert.equal(joined.roomInfo.chatId, room);
  await until('users:online', () => colon.heard['users:online'].length);
  assert.ok(Array.isArray(colon.heard['users:online'][0].users) && colon.heard['users:online'][0].total >= 1);
  const other = camel(io, version, kind, next(), bob, room);
  other.socket.emit('joinRoom', room);
  await until('joinedRoom', () => other.heard.joinedRoom.includes(room));
  await until('user:joined', () => colon.heard['user:joined'].some((it) => it.userId === 'bob' && it.chatId === room));
  await until('room:online-update', () => colon.heard['room:online-update'].some((it) => it.onlineCount === 2));
  const sent = await colon.sendMessage(room, 'Hello, world!');
  assert.equal(sent.message, 'Message sent successfully');
  await until('newMessage', () => other.heard.newMessage.length === 1);
  const heard = other.heard.newMessage[0];
  assert.deepEqual([heard.id, heard.content, heard.sender, heard.roomId], [sent.sentMessage.id, 'Hello, world!', 'ada', room]);
  await until('message:new', () => colon.heard['message:new'].length === 1);
  assert.deepEqual(colon.heard['message:new'][0], sent.sentMessage);
  colon.setTyping(room, true);
  await until('userTyping', () => other.heard.userTyping.length);
  assert.deepEqual(other.heard.userTyping[0], { roomId: room, userId: 'ada', isTyping: true });
  other.socket.emit('sendMessage', { content: 'Hello world!', roomId: room, replyToId: heard.id, metadata: { customField: 'value' } });
  await until('messageSent', () => other.heard.messageSent.length && other.heard.newMessage.length === 2);
  assert.equal(other.heard.messageSent[0].status, 'sent');
  other.socket.emit('readReceipt', { messageId: heard.id, roomId: room });
  await until('message:read', () => colon.heard['message:read'].some((it) => it.userId === 'bob'));
  other.socket.emit('heartbeat');
  // The connection breaks; what is said meanwhile is asked for.
  other.socket.io.engine.close();
  await until('gone', () => !other.socket.connected);
  await colon.sendMessage(room, 'while you were away');
  await until('syncComplete', () => other.reconnected && other.heard.syncComplete.length);
  const contents = other.heard.newMessage.map((it) => it.content);
  assert.ok(contents.includes('while you were away'), contents.join());
  other.socket.emit('leaveRoom', room);
  await until('leftRoom', () => other.heard.leftRoom.includes(room));
  assert.deepEqual(other.heard.error, []);
  assert.equal(colon.heard['users:online'].length, 1);
  other.socket.close();
  colon.disconnect();
}

for (const kind of Object.keys(TRANSPORTS)) {
  for (const version of Object.keys(CLIENTS)) {
    await notify(CLIENTS[version], version, kind);
    await chat(CLIENTS[version], version, kind);
    console.log(`socket.io-client ${version}, ${kind}`);
  }
}
process.exit(0);
