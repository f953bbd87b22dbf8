// Cases of the clients' own test suites against `serve --conformance=…`, which stands in for the server that those suites
// start. Run as
//
//   node own_cases.mjs http://HOST:PORT http://HOST:PORT      --conformance=socketio-client, --conformance=engineio-client
//
// Prints a line for each case that went well; exits with 1 at the first that did not. `own_suites.mjs` runs the suites
// themselves.

import assert from 'node:assert/strict';
import { Socket as EngineSocket } from 'engine.io-client';
import { io } from 'socket.io-client-4';

const PATIENCE_MS = 20_000;
const [, , url, engineUrl] = process.argv;

/** The arguments of the next event. */
function hear(emitter, name) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no ${name} in ${PATIENCE_MS} ms`)), PATIENCE_MS);
    emitter.once(name, (...args) => {
      clearTimeout(timer);
      resolve(args);
    });
  });
}

const connect = (namespace, options = {}) => io(`${url}${namespace}`, { forceNew: true, ...options });
const ask = (socket, ...args) => socket.timeout(PATIENCE_MS).emitWithAck(...args);

const cases = {
  async 'ids are those of the server, in each namespace'() {
    for (const namespace of ['/', '/foo']) {
      const socket = connect(namespace);
      assert.equal(await ask(socket, 'getId'), socket.id);
      socket.disconnect();
    }
  },
  async 'namespaces connect'() {
    for (const namespace of ['/asd', '/valid', '/timeout_socket']) {
      const socket = connect(namespace);
      await hear(socket, 'connect');
      socket.disconnect();
    }
  },
  async 'a refused namespace and a refused handshake are told apart'() {
    const refused = { '/no': 'Auth failed (custom namespace)', '/?fail=true': 'Auth failed (main namespace)', '/none': 'Invalid namespace' };
    for (const [namespace, message] of Object.entries(refused)) {
      const socket = connect(namespace);
      assert.equal((await hear(socket, 'connect_error'))[0].message, message);
      assert.equal(socket.active, false);
      socket.disconnect();
    }
  },
  async 'the handshake comes back'() {
    const socket = connect('/abc', { query: { '&a': '&=?a' }, auth: { token: 'x' } });
    const [handshake] = await hear(socket, 'handshake');
    assert.deepEqual([handshake.query['&a'], handshake.auth], ['&=?a', { token: 'x' }]);
    socket.disconnect();
    const main = connect('/?c=d');
    assert.equal((await ask(main, 'getHandshake')).query.c, 'd');
    main.disconnect();
  },
  async 'the server asks for an acknowledgement'() {
    const socket = connect('/');
    socket.on('ack', (answer) => answer(5, { test: true }));
    socket.emit('ack');
    await hear(socket, 'got it');
    assert.equal(await ask(socket, 'echo', 42), 42);
    assert.ok(Date.parse(await ask(socket, 'getAckDate', {})));
    socket.disconnect();
  },
  async 'values come in order, as they are'() {
    const socket = connect('/');
    const heard = [];
    socket.onAny((name, ...args) => heard.push([name, ...args]));
    socket.emit('hi');
    socket.emit('false');
    socket.emit('getUtf8');
    socket.emit('getDateObj');
    const [{ date }] = await hear(socket, 'takeDateObj');
    assert.ok(Date.parse(date));
    const texts = ['てすと', 'Я Б Г Д Ж Й', 'Ä ä Ü ü ß', 'utf8 — string', 'utf8 — string'];
    assert.deepEqual(heard.slice(0, -1), [['hi'], ['false', false], ...texts.map((text) => ['takeUtf8', text])]);
    socket.disconnect();
  },
  async 'binary data goes both ways'() {
    const socket = connect('/');
    socket.emit('doge');
    assert.equal((await hear(socket, 'doge'))[0].toString(), 'asdfasdf');
    const bytes = Buffer.from('howdy', 'utf8');
    for (const [name, value, answer] of [['buffa', bytes, 'buffack'], ['jsonbuff', { hello: 'lol', message: bytes, goodbye: 'gotcha' }, 'jsonbuff-ack']]) {
      socket.emit(name, value);
      await hear(socket, answer);
    }
    socket.disconnect();
  },
  async 'an engine is greeted and hears what it asks for'() {
    for (const transport of ['polling', 'websocket']) {
      const socket = new EngineSocket(engineUrl, { transports: [transport] });
      assert.equal((await hear(socket, 'message'))[0], 'hi');
      socket.send('give binary');
      assert.deepEqual([...new Uint8Array((await hear(socket, 'message'))[0])], [0, 1, 2, 3, 4]);
      socket.send('give utf8');
      assert.equal((await hear(socket, 'message'))[0], 'пойду спать всем спокойной ночи');
      socket.close();
    }
  },
  async 'an engine that sends too much is told so'() {
    const polling = new EngineSocket(engineUrl, { transports: ['polling'] });
    await hear(polling, 'open');
    polling.send('a'.repeat(101));
    const [error] = await hear(polling, 'error');
    assert.deepEqual([error.type, error.description, error.context.responseText], ['TransportError', 413, '']);
    const websocket = new EngineSocket(engineUrl, { transports: ['websocket'] });
    await hear(websocket, 'open');
    websocket.send('a'.repeat(101));
    const [reason, details] = await hear(websocket, 'close');
    assert.deepEqual([reason, details.context.code, details.context.reason], ['transport close', 1009, '']);
  },
  async 'an engine that is denied is told so'() {
    const socket = new EngineSocket(engineUrl, { transports: ['polling'], query: { deny: 1 } });
    assert.equal((await hear(socket, 'error'))[0].description, 403);
  },
};

for (const [name, run] of Object.entries(cases)) {
  await run();
  console.log(name);
}
process.exit(0);
