// Stock clients whose connections, joins and messages a hook decides on, in the namespaces of the server. Run as
//
//   node hooks.mjs PORT < TOKENS     tokens of ann, bob and banned, as a JSON array
//
// The hook refuses the user `banned` with the code BANNED, the room `closed` with ROOM_FULL and messages that end with `7`; it has those
// who connect to /chat join `lobby`. Prints a line for each part that went well; exits with 1 at the first that did not.

import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { io } from 'socket.io-client-4';

const url = `http://127.0.0.1:${process.argv[2]}`;
const PATIENCE_MS = 20_000;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const [ann, bob, banned] = JSON.parse((await lines.next()).value);

const open = (namespace, token, transports, query) =>
  io(url + namespace, { auth: { token, team: 'red' }, transports, query, forceNew: true, reconnection: false });
const event = (socket, name) =>
  new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`not in ${PATIENCE_MS} ms: ${name}`)), PATIENCE_MS);
    socket.once(name, (value) => (clearTimeout(late), resolve(value)));
  });
const ask = (socket, ...request) => socket.timeout(PATIENCE_MS).emitWithAck(...request);

for (const transports of [['websocket'], ['polling'], ['polling', 'websocket']]) {
  for (const namespace of ['/', '/chat']) {
    const refused = await event(open(namespace, banned, transports), 'connect_error');
    assert.deepEqual([refused.message, refused.data], ['You are banned', { code: 'BANNED' }]);
  }
  const main = open('/', ann, transports);
  await event(main, 'authenticated');
  main.disconnect();

  const room = `room-${transports.join('-')}`;
  const colon = open('/chat', ann, transports, { dialect: 'colon' });
  assert.equal((await event(colon, 'room:joined')).chatId, 'lobby');
  assert.equal((await ask(colon, 'join:chat', { chatId: 'closed' })).code, 'ROOM_FULL');
  assert.equal((await ask(colon, 'join:chat', { chatId: room })).success, true);

  const camel = open('/chat', bob, transports, { dialect: 'camel' });
  assert.equal(await event(camel, 'joinedRoom'), 'lobby');
  const told = event(camel, 'error');
  camel.emit('joinRoom', 'closed');
  assert.equal((await told).code, 'ROOM_FULL');
  assert.equal((await ask(camel, 'joinRoom', room)).success, true);

  // Sent without waiting: in a payload of a POST several come at once.
  const heard = [];
  colon.on('message:new', ({ content }) => heard.push(content));
  const answers = await Promise.all(
    Array.from({ length: 18 }, (_, number) => ask(camel, 'sendMessage', { roomId: room, content: `${number}` })),
  );
  assert.deepEqual(answers.map((answer) => answer.success ?? false), answers.map((_, number) => number % 10 !== 7));
  await ask(camel, 'sendMessage', { roomId: room, content: 'last' });
  const end = Date.now() + PATIENCE_MS;
  while (heard.at(-1) !== 'last' && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 5));
  const expected = Array.from({ length: 18 }, (_, number) => `${number}`).filter((text) => !text.endsWith('7'));
  assert.deepEqual(heard, [...expected, 'last']);
  colon.disconnect();
  camel.disconnect();
  console.log(transports.join(', '));
}
process.exit(0);
