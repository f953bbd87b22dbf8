// Clients with permessage-deflate, with every combination of its parameters. Run as
//
//   node deflate.mjs HOST:PORT ANN BOB    a server that compresses, and tokens of two users
//
// Prints a line for each kind of client that went well; exits with 1 at the first that did not.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { io as io3 } from 'socket.io-client-3';
import { io as io4 } from 'socket.io-client-4';
import WebSocket from 'ws';

const [, , address, ann, bob] = process.argv;
const CLIENTS = { 2: createRequire(import.meta.url)('socket.io-client-2'), 3: io3, 4: io4 };
const TEXT = 'a text that is compressed well, '.repeat(400);

const open = (token, perMessageDeflate) =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(`ws://${address}/ws?token=${token}`, { perMessageDeflate });
    const heard = [];
    const waiting = [];
    socket.on('message', (data) => {
      heard.push(JSON.parse(data));
      waiting.splice(0).forEach((wake) => wake());
    });
    socket.next = async (type) => {
      for (;;) {
        const at = heard.findIndex((message) => message.type === type);
        if (at >= 0) return heard.splice(at, 1)[0];
        await new Promise((wake) => waiting.push(wake));
      }
    };
    socket.ask = (message) => socket.send(JSON.stringify(message));
    socket.on('open', () => resolve(socket));
    socket.on('error', reject);
  });

let count = 0;
for (const serverNoContextTakeover of [false, true]) {
  for (const clientNoContextTakeover of [undefined, true]) {
    for (const serverMaxWindowBits of [undefined, 9, 12, 15]) {
      for (const clientMaxWindowBits of [undefined, true, 9, 15]) {
        const options = { serverNoContextTakeover, clientNoContextTakeover, serverMaxWindowBits, clientMaxWindowBits, threshold: 0 };
        const [a, b] = await Promise.all([open(ann, options), open(bob, options)]);
        const limit = serverMaxWindowBits ? `; server_max_window_bits=${serverMaxWindowBits}` : '';
        assert.equal(a.extensions, 'permessage-deflate');
        assert.equal(a._extensions['permessage-deflate'].params.client_no_context_takeover, true);
        assert.equal(a._extensions['permessage-deflate'].params.server_max_window_bits ?? '', limit && serverMaxWindowBits);
        for (const socket of [a, b]) {
          socket.ask({ type: 'join-room', roomId: 'tea', requestId: 1 });
          await socket.next('room-joined');
        }
        const before = b._socket.bytesRead;
        for (let number = 0; number < 3; number += 1) {
          a.ask({ type: 'message', roomId: 'tea', content: TEXT + number });
          assert.equal((await b.next('message')).content, TEXT + number);
        }
        assert.ok(b._socket.bytesRead - before < TEXT.length, `${b._socket.bytesRead - before} bytes`);
        assert.ok(a._socket.bytesWritten < TEXT.length, `${a._socket.bytesWritten} bytes`);
        a.close();
        b.close();
        count += 1;
      }
    }
  }
}
console.log(`ws: ${count} combinations`);

for (const [version, io] of Object.entries(CLIENTS)) {
  const connect = (token, transports) =>
    new Promise((resolve, reject) => {
      const options = { transports, forceNew: true, perMessageDeflate: { threshold: 0 }, query: { token }, auth: { token } };
      const socket = io(`http://${address}/chat`, options);
      socket.on('connect', () => resolve(socket));
      socket.on('connect_error', reject);
    });
  const [a, b, c] = await Promise.all([connect(ann, ['websocket']), connect(bob, ['polling', 'websocket']), connect(bob, ['polling'])]);
  for (const socket of [a, b, c]) {
    await new Promise((resolve) => socket.emit('join:chat', { chatId: 'tea' }, resolve));
  }
  const heard = [b, c].map((socket) => new Promise((resolve) => socket.on('message:new', ({ content }) => resolve(content))));
  a.emit('message:send', { chatId: 'tea', content: TEXT });
  assert.deepEqual(await Promise.all(heard), [TEXT, TEXT]);
  [a, b, c].forEach((socket) => socket.close());
  console.log(`socket.io-client ${version}`);
}
process.exit(0);
