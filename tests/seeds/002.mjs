// Checks of document 002: messages that a backend pushes to Socket.IO clients by REST.

import assert from 'node:assert/strict';
import { SECRET, Server, Sio, fresh, has, isCount, isDate, isText, listeners, run, shared, token, withRedis, withServer } from './stage.mjs';

const server = shared('002');
/** The tokens that the document prints. */
const SAMPLES = {
  user123: 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1c2VyMTIzIiwibmFtZSI6IkpvaG4gRG9lIiwiaWF0IjoxNTE2MjM5MDIyfQ.SflKxwRJSMeKKF2QT4fwpMeJf36POk6yJV_adQssw5c',
  user456: 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1c2VyNDU2IiwibmFtZSI6IkphbmUgU21pdGgiLCJpYXQiOjE1MTYyMzkwMjJ9.4Adcj3UFYzPUVaVF43FmMab6RlaQD8A9V8wFzzht-KQ',
  user789: 'eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1c2VyNzg5IiwibmFtZSI6IkJvYiBKb2huc29uIiwiaWF0IjoxNTE2MjM5MDIyfQ.onuUeVV4KP5zV8TLMVhQUedo9P9zGUz2hKhP0YoWJIQ',
};
const BACKEND = token('backend');

const withHeader = (bearer) => ({ extraHeaders: { Authorization: `Bearer ${bearer}` } });

async function client(user, on) {
  return Sio.connect((on ?? (await server())).http, withHeader(token(user)));
}

async function call(method, path, body) {
  return (await server()).done(200, method, path, { token: BACKEND, body });
}

/** Two connected clients, and their names. */
async function pair() {
  const [ann, bob] = [fresh('ann'), fresh('bob')];
  return { ann, bob, one: await client(ann), two: await client(bob) };
}

/** A message of this type arrives as it was pushed. */
async function arrives(type) {
  const { ann, one } = await pair();
  const data = { message: type, list: [1, { two: null }] };
  await call('POST', '/websocket/message/user', { userId: ann, type, data });
  assert.deepEqual((await one.hear('message', { type })).data, data);
}

await run({
  async '01'() {
    assert.deepEqual(await listeners('002'), ['127.0.0.1:8090', '[::1]:8090']);
    for (const transports of [['polling', 'websocket'], ['websocket'], ['polling']]) {
      (await Sio.connect((await server()).http, { transports, ...withHeader(token('ann')) })).close();
    }
  },
  async '02'() {
    const ann = fresh('ann');
    has(await (await client(ann)).hear('authenticated'), { userId: ann });
    has(await Sio.refusal((await server()).http), { message: isText, data: { code: 'UNAUTHENTICATED' } });
  },
  async '03'() {
    const noSub = token(undefined);
    has(await Sio.refusal((await server()).http, withHeader(noSub)), { message: (text) => text.includes('sub'), data: { code: 'UNAUTHENTICATED' } });
  },
  async '04'() {
    const ann = fresh('ann');
    const both = [await client(ann), await client(ann)];
    has(await call('POST', '/websocket/message/user', { userId: ann, type: 'chat', data: 1 }), { delivered: 2 });
    for (const one of both) await one.hear('message', { type: 'chat', data: 1 });
  },
  async '05'() {
    const one = new Sio((await server()).http, withHeader(token('ann')));
    await one.hear('client connect');
    assert.ok(one.socket.connected && isText(one.socket.id));
  },
  async '06'() {
    const ann = fresh('ann');
    const one = await client(ann);
    has(await one.hear('authenticated'), { userId: ann, socketId: one.socket.id });
  },
  async '07'() {
    const { ann, one } = await pair();
    await call('DELETE', `/websocket/users/${ann}/disconnect`);
    assert.equal(await one.hear('client disconnect'), 'io server disconnect');
  },
  async '08'() {
    const { ann, one, two } = await pair();
    await call('POST', '/websocket/message/user', { userId: ann, type: 'chat', data: { message: 'Hello!' } });
    has(await one.hear('message'), { type: 'chat', data: { message: 'Hello!' } });
    two.emit('ping');
    await two.hear('pong');
    assert.equal(two.heard.take('message'), null);
  },
  async '09'() {
    const { one } = await pair();
    one.emit('ping');
    has(await one.hear('pong'), { timestamp: isDate });
  },
  async '10'() {
    const { ann, one } = await pair();
    const data = { message: 'Hello!', sender: 'system' };
    const answer = await call('POST', '/websocket/message/user', { userId: ann, type: 'chat', data });
    has(answer, { success: true, message: isText, delivered: 1 });
    has(await one.hear('message'), { type: 'chat', data });
  },
  async '11'() {
    const { ann, bob, one, two } = await pair();
    const data = { title: 'System Update', message: 'System will be updated tonight' };
    has(await call('POST', '/websocket/message/users', { userIds: [ann, bob], type: 'announcement', data }), { success: true, delivered: 2 });
    for (const it of [one, two]) has(await it.hear('message'), { type: 'announcement', data });
  },
  async '12'() {
    const { one, two } = await pair();
    const data = { message: 'Welcome to our platform!', level: 'info' };
    has(await call('POST', '/websocket/message/broadcast', { type: 'system', data }), { success: true });
    for (const it of [one, two]) has(await it.hear('message', { type: 'system' }), { data });
  },
  async '13'() {
    const { ann, one } = await pair();
    const data = { category: 'message', priority: 'normal' };
    const body = { userId: ann, title: 'New Message', body: 'You have received a new message', data };
    has(await call('POST', '/websocket/notification', body), { success: true });
    const heard = await one.hear('message', { type: 'notification' });
    has(heard.data, { title: body.title, body: body.body, ...data });
  },
  async '14'() {
    const { ann, bob } = await pair();
    const { success, users, total } = await call('GET', '/websocket/users/connected');
    assert.ok(success && total >= 2);
    for (const user of [ann, bob]) has(users.find((it) => it.userId === user), { connections: 1, status: 'online' });
  },
  async '15'() {
    const { ann } = await pair();
    has(await call('GET', `/websocket/users/${ann}/status`), { success: true, userId: ann, connected: true, connections: 1 });
    const gone = fresh('gone');
    has(await call('GET', `/websocket/users/${gone}/status`), { success: true, userId: gone, connected: false, connections: 0 });
  },
  async '16'() {
    has(await call('GET', '/websocket/me/status'), { success: true, userId: 'backend', connected: false });
    const me = await client('backend');
    has(await call('GET', '/websocket/me/status'), { connected: true });
    me.close();
  },
  async '17'() {
    const { ann, one, two } = await pair();
    has(await call('DELETE', `/websocket/users/${ann}/disconnect`), { success: true, disconnected: 1 });
    await one.hear('client disconnect');
    assert.ok(two.socket.connected);
  },
  async '18'() {
    const calls = [['POST', '/websocket/message/user'], ['POST', '/websocket/message/users'], ['POST', '/websocket/message/broadcast'], ['POST', '/websocket/notification'],
      ['GET', '/websocket/users/connected'], ['GET', '/websocket/users/ann/status'], ['GET', '/websocket/me/status'], ['DELETE', '/websocket/users/ann/disconnect']];
    for (const [method, path] of calls) {
      const body = method === 'POST' ? {} : undefined;
      has(await (await server()).call(method, path, { body }), { status: 401, body: { success: false, error: isText, code: 'UNAUTHENTICATED' } });
    }
  },
  async '19'() {
    for (const type of ['notification', 'chat', 'system', 'update', 'alert', 'custom']) await arrives(type);
  },
  async '20'() {
    const { ann, one } = await pair();
    await call('POST', '/websocket/message/user', { userId: ann, type: 'update' });
    const heard = await one.hear('message');
    assert.deepEqual(Object.keys(heard).sort(), ['data', 'timestamp', 'type']);
    has(heard, { type: 'update', timestamp: isDate });
  },
  async '21'() {
    const { ann, one } = await pair();
    await call('POST', '/websocket/notification', { userId: ann, title: 'Tea', body: 'It is ready', data: { cups: 2 } });
    has(await one.hear('message'), { type: 'notification', data: { title: 'Tea', body: 'It is ready', cups: 2 }, timestamp: isDate });
  },
  async '22'() {
    const { one } = await pair();
    for (const level of ['info', 'warning', 'error']) {
      const data = { message: 'News', level, ticket: 7 };
      await call('POST', '/websocket/message/broadcast', { type: 'system', data });
      has(await one.hear('message', { type: 'system', data: { level } }), { data, timestamp: isDate });
    }
  },
  async '23'() {
    const page = await (await server()).call('GET', '/websocket-client.html');
    assert.equal(page.status, 200);
    assert.match(page.headers.get('content-type'), /^text\/html/);
    // The page in a browser is a test of its own, tests/clients/websocket_page.rs.
    for (const id of ['server', 'token', 'connect', 'log']) assert.ok(page.body.includes(`id="${id}"`), id);
  },
  async '24'() {
    const on = await server();
    // The calls name the users of the printed tokens; one of them is here.
    const one = await Sio.connect(on.http, withHeader(SAMPLES.user123));
    const file = await on.call('GET', '/testing-websocket.http');
    assert.equal(file.status, 200);
    const value = (name) => new RegExp(`^@${name} = (.*)$`, 'm').exec(file.body)[1];
    const requests = file.body.replaceAll('{{token}}', value('token')).split(/^###.*$/m).slice(1);
    assert.equal(requests.length, 8);
    for (const request of requests) {
      const [head, body] = request.trim().split(/\n\n/);
      const [first, ...lines] = head.split('\n');
      const [method, url] = first.split(' ');
      const headers = Object.fromEntries(lines.map((line) => line.split(': ')));
      const response = await fetch(url.replace('{{host}}', on.http), { method, headers, body });
      assert.equal(response.status, 200, `${first}: ${await response.text()}`);
    }
    await one.hear('client disconnect');
  },
  async '25'() {
    for (const [user, sample] of Object.entries(SAMPLES)) {
      const one = await Sio.connect((await server()).http, withHeader(sample));
      await one.hear('authenticated', { userId: user });
      has(await (await server()).done(200, 'GET', '/websocket/me/status', { token: sample }), { userId: user, connected: true });
      const body = { userId: user, type: 'chat', data: { message: 'Hello!' } };
      await (await server()).done(200, 'POST', '/websocket/message/user', { token: SAMPLES.user789, body });
      await one.hear('message', { type: 'chat' });
      one.close();
    }
  },
  async '26'() {
    const origin = (on, Origin) => on.call('GET', '/socket.io/?EIO=4&transport=polling', { headers: { Origin } });
    const any = await origin(await server(), 'https://any.example');
    assert.deepEqual([any.status, any.headers.get('access-control-allow-origin')], [200, 'https://any.example']);
    await withServer('002', { settings: ['cors.origins=https://your-frontend-domain.com'] }, async (on) => {
      assert.equal((await origin(on, 'https://your-frontend-domain.com')).status, 200);
      assert.equal((await origin(on, 'https://any.example')).status, 403);
    });
  },
  async '27'() {
    await withServer('002', { settings: ['limits.connections_per_user=1'] }, async (on) => {
      await client('ann', on);
      has(await Sio.refusal(on.http, withHeader(token('ann'))), { message: isText });
    });
  },
  async '28'() {
    const { http } = await server();
    for (const options of [{}, withHeader('no-token'), withHeader(token('ann', { exp: 1 }))]) {
      has(await Sio.refusal(http, options), { message: isText, data: { code: isText } });
    }
    // The refused do not disturb the others.
    (await client(fresh('ann'))).close();
  },
  async '29'() {
    const { http } = await server();
    has(await Sio.refusal(`${http}/nowhere`, withHeader(token('ann'))), { message: 'Invalid namespace' });
    const { one } = await pair();
    one.emit('dance');
    has(await one.hear('error'), { code: 'UNKNOWN_TYPE', message: isText });
  },
  async '30'() {
    const on = await Server.start('002', { settings: ['log.level=debug'] });
    const { ann, gone } = { ann: fresh('ann'), gone: fresh('gone') };
    await client(ann, on);
    const options = { token: BACKEND, body: { userIds: [ann, gone], type: 'chat' } };
    has(await on.done(200, 'POST', '/websocket/message/users', options), { delivered: 1, offline: [gone] });
    await on.logged(new RegExp(`not delivered.*${gone}`));
    await on.stop();
  },
  async '31'() {
    await withServer('002', { env: { JWT_SECRET: SECRET } }, async (on) => {
      await client('ann', on);
      has(await Sio.refusal(on.http, withHeader(SAMPLES.user123)), { data: { code: 'UNAUTHENTICATED' } });
    });
  },
  async '32'() {
    await withServer('002', { settings: ['limits.rest_per_minute=3'] }, async (on) => {
      const statuses = [];
      for (let left = 5; left > 0; left -= 1) statuses.push((await on.call('POST', '/websocket/message/user', { token: BACKEND, body: { userId: 'ann', type: 'chat' } })).status);
      assert.deepEqual(statuses, [200, 200, 200, 429, 429]);
    });
  },
  async '33'() {
    const wrong = [['/websocket/message/user', { type: 'chat' }], ['/websocket/message/user', { userId: 7, type: 'chat' }], ['/websocket/message/users', { userIds: 'ann', type: 'chat' }],
      ['/websocket/message/broadcast', {}], ['/websocket/notification', { userId: 'ann', title: 1, body: 'x' }]];
    for (const [path, body] of wrong) {
      has(await (await server()).call('POST', path, { token: BACKEND, body }), { status: 422, body: { success: false, code: 'INVALID_MESSAGE', error: isText } });
    }
  },
  async '34'() {
    // With the setting that the profile opens, only backends and admins may act on others.
    await withServer('002', { settings: ['push.by_users=false'] }, async (on) => {
      await client('ann', on);
      const body = { userId: 'ann', type: 'chat' };
      has(await on.call('POST', '/websocket/message/user', { token: token('eve'), body }), { status: 403, body: { code: 'FORBIDDEN' } });
      has(await on.call('DELETE', '/websocket/users/ann/disconnect', { token: token('eve') }), { status: 403 });
      await on.done(200, 'POST', '/websocket/message/user', { token: token('backend', { scope: 'push' }), body });
      await on.done(200, 'DELETE', '/websocket/users/ann/disconnect', { token: token('root', { role: 'admin' }) });
    });
  },
  async '35'() {
    await withRedis([], async (port) => {
      const options = { env: { REDIS_HOST: '127.0.0.1', REDIS_PORT: String(port) } };
      await withServer('002', options, (first) => withServer('002', options, async (second) => {
        const one = await client('ann', first);
        const body = { userId: 'ann', type: 'chat', data: { message: 'Hello!' } };
        has(await second.done(200, 'POST', '/websocket/message/user', { token: BACKEND, body }), { delivered: 1, offline: [] });
        has(await one.hear('message'), { data: body.data });
      }));
    });
  },
  async '36'() {
    await withServer('002', { settings: ['log.level=debug'] }, async (on) => {
      const one = await client('ann', on);
      const { id } = one.socket;
      await on.logged(new RegExp(` connected.*${id}`));
      one.close();
      await on.logged(new RegExp(` disconnected.*${id}`));
    });
  },
  async '37'() {
    const { ann, one } = await pair();
    const status = await call('GET', `/websocket/users/${ann}/status`);
    has(status, { connections: isCount });
    one.close();
    for (let left = 100; left > 0 && (await call('GET', `/websocket/users/${ann}/status`)).connected; left -= 1);
    has(await call('POST', '/websocket/notification', { userId: ann, title: 'New Notification', body: 'Later' }), { success: true, delivered: 0, offline: [ann] });
  },
});
