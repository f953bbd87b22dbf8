// Stock clients with the options `path`, `transports` and `upgrade`, at servers whose settings are the same or others. Run as
//
//   node options.mjs BOTH POLLING WEBSOCKET < TOKENS     ports of servers at the path /rt that serve both transports or one; a token
//
// Prints a line for each server that went well; exits with 1 at the first that did not.

import assert from 'node:assert/strict';
import { createInterface } from 'node:readline';
import { io } from 'socket.io-client-4';

const ports = process.argv.slice(2);
const PATIENCE_MS = 20_000;
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const [token] = JSON.parse((await lines.next()).value);

/** The transport that a client ends up with; `null` if it cannot connect. */
async function transport(port, options) {
  const opened = await fetch(`http://127.0.0.1:${port}/rt/?EIO=4&transport=polling`);
  const upgrades = opened.ok && JSON.parse((await opened.text()).slice(1)).upgrades.length > 0;
  const socket = io(`http://127.0.0.1:${port}`, { path: '/rt', auth: { token }, forceNew: true, reconnection: false, ...options });
  return new Promise((resolve, reject) => {
    const end = (value) => (clearTimeout(late), socket.disconnect(), resolve(value));
    const late = setTimeout(() => reject(new Error(`not in ${PATIENCE_MS} ms: ${JSON.stringify(options)}`)), PATIENCE_MS);
    socket.on('connect_error', () => end(null));
    socket.on('connect', () => {
      const { engine } = socket.io;
      if (engine.transport.name === 'websocket' || !upgrades) return end(engine.transport.name);
      engine.once('upgrade', (upgraded) => end(upgraded.name));
    });
  });
}

const [both, polling, websocket] = ports;
assert.equal(await transport(both, {}), 'websocket');
assert.equal(await transport(both, { path: '/rt/' }), 'websocket');
assert.equal(await transport(both, { transports: ['websocket'] }), 'websocket');
assert.equal(await transport(both, { path: '/socket.io' }), null);
console.log('both');
assert.equal(await transport(polling, {}), 'polling');
assert.equal(await transport(polling, { transports: ['websocket'] }), null);
console.log('polling');
assert.equal(await transport(websocket, {}), null);
assert.equal(await transport(websocket, { transports: ['websocket'] }), 'websocket');
console.log('websocket');
process.exit(0);
