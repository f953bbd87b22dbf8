// Checks of document 004: chat with events of the form `sendMessage`, answered by events. Its clients are of version 2 and 4.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as path } from 'node:path';
import { Server, Sio, fresh, freePort, has, io2, isDate, isText, run, shared, token, until, withRedis, withServer } from './stage.mjs';

const server = shared('004');

async function client(user, { on, claims, ...options } = {}) {
  const { http } = on ?? (await server());
  return Sio.connect(`${http}/chat`, { transports: ['websocket'], query: { token: token(user, claims) }, ...options });
}

async function join(sio, room) {
  sio.emit('joinRoom', room);
  await sio.hear('joinedRoom', (heard) => heard === room);
}

/** Two members of a new room, and their names; the second has a client of version 2. */
async function pair(on) {
  const [ann, bob, room] = [fresh('ann'), fresh('bob'), fresh('room')];
  const [one, two] = [await client(ann, { on }), await client(bob, { on, io: io2 })];
  await join(one, room);
  await join(two, room);
  return { ann, bob, room, one, two };
}

async function send(sio, roomId, content = 'Hello world!', fields = {}) {
  sio.emit('sendMessage', { content, roomId, ...fields });
  return sio.hear('messageSent');
}

async function sync(sio, request) {
  sio.emit('syncMessages', request);
  return sio.hear('syncComplete', { roomId: request.roomId });
}

await run({
  async '01'() {
    await client(fresh('ann'));
    await client(fresh('ann'), { io: io2 });
    has(await Sio.refusal(`${(await server()).http}/chats`, { query: { token: token('ann') } }), { message: 'Invalid namespace' });
  },
  async '02'() {
    await client(fresh('ann'), { transports: ['polling', 'websocket'] });
    // A token is needed, by whatever way.
    has(await Sio.refusal(`${(await server()).http}/chat`), { message: isText, data: { code: 'UNAUTHENTICATED' } });
  },
  async '03'() {
    await client('ann', { query: {}, extraHeaders: { Authorization: `Bearer ${token('ann')}` } });
    await client('ann', { query: {}, io: io2, extraHeaders: { Authorization: `Bearer ${token('ann')}` } });
  },
  async '04'() {
    const on = await server();
    const cookie = { Cookie: `token=${token('ann')}` };
    for (const Origin of [on.http, 'http://localhost:3000', 'http://127.0.0.1:5173']) {
      await client('ann', { on, query: {}, extraHeaders: { ...cookie, Origin } });
    }
    // Nor is a cookie taken from pages of other sites.
    for (const Origin of ['https://evil.example', 'http://localhost.evil.example:3000', 'null']) {
      await Sio.refusal(`${on.http}/chat`, { transports: ['websocket'], extraHeaders: { ...cookie, Origin } });
    }
  },
  async '05'() {
    const { room, one, two } = await pair();
    const three = await client(fresh('cyd'));
    await join(three, room);
    await send(three, room, 'I am here');
    for (const member of [one, two]) await member.hear('newMessage', { content: 'I am here' });
  },
  async '06'() {
    const { room, one, two } = await pair();
    one.emit('leaveRoom', room);
    await one.hear('leftRoom', (heard) => heard === room);
    await send(two, room);
    await one.ask('heartbeat');
    assert.equal(one.heard.take('newMessage'), null);
  },
  async '07'() {
    const { room, one } = await pair();
    has(await send(one, room), { id: isText, timestamp: isDate, status: isText });
  },
  async '08'() {
    const { room, one, two } = await pair();
    const { id } = await send(one, room);
    const fields = { replyToId: id, attachment: { url: 'https://example.com/file.jpg', type: 'image/jpeg', name: 'image.jpg' }, metadata: { customField: 'value' } };
    await send(one, room, 'with all', fields);
    has(await two.hear('newMessage', { content: 'with all' }), fields);
  },
  async '09'() {
    const { ann, room, one, two } = await pair();
    for (const isTyping of [true, false]) {
      one.emit('typingIndicator', { roomId: room, isTyping });
      assert.deepEqual(await two.hear('userTyping'), { roomId: room, userId: ann, isTyping });
    }
  },
  async '10'() {
    const { ann, one, two } = await pair();
    for (const status of ['away', 'busy', 'offline', 'online']) {
      one.emit('presenceUpdate', { status });
      await two.hear('presenceUpdate', { userId: ann, status });
    }
  },
  async '11'() {
    const { bob, room, one, two } = await pair();
    const { id } = await send(one, room);
    two.emit('readReceipt', { messageId: id, roomId: room });
    has(await one.hear('messageRead'), { messageId: id, userId: bob });
  },
  async '12'() {
    await withServer('004', { settings: ['heartbeat.interval_ms=200', 'heartbeat.timeout_ms=5000'] }, async (on) => {
      for (const options of [{}, { io: io2 }]) {
        const ann = fresh('ann');
        const one = await client(ann, { on, ...options });
        const lastSeen = async () => (await on.done(200, 'GET', `/connections/${ann}`, { token: token(ann) })).connections[0].lastSeen;
        const before = await lastSeen();
        const end = Date.now() + 1_500;
        while (Date.now() < end) {
          one.emit('heartbeat');
          has(await one.hear('heartbeat'), { timestamp: isDate });
          await new Promise((resolve) => setTimeout(resolve, 50));
        }
        assert.ok(one.socket.connected && (await lastSeen()) > before);
      }
    });
  },
  async '13'() {
    const { room, one } = await pair();
    for (const content of ['1', '2', '3']) await send(one, room, content);
    const late = await client(fresh('cyd'));
    await join(late, room);
    has(await sync(late, { roomId: room }), { roomId: room, syncedMessageCount: 3 });
    for (const content of ['1', '2', '3']) has(await late.hear('newMessage'), { content });
  },
  async '14'() {
    const { room, one } = await pair();
    const { id } = await send(one, room, 'known');
    await send(one, room, 'missed');
    const late = await client(fresh('cyd'));
    await join(late, room);
    has(await sync(late, { roomId: room, lastMessageId: id }), { syncedMessageCount: 1, hasMore: false });
    has(await late.hear('newMessage'), { content: 'missed' });
    // One that has expired, or never was, is told from one that is known.
    const unknown = '0194f3d2-8c1a-7c3e-9f4b-2a6d1e0c5b7a';
    has(await sync(late, { roomId: room, lastMessageId: unknown }), { syncedMessageCount: 2, hasMore: false, lastMessageFound: false });
  },
  async '15'() {
    const { room, one } = await pair();
    for (let number = 1; number <= 60; number += 1) await send(one, room, String(number));
    const late = await client(fresh('cyd'));
    await join(late, room);
    has(await sync(late, { roomId: room }), { syncedMessageCount: 50, hasMore: true });
    has(await sync(late, { roomId: room, limit: 7 }), { syncedMessageCount: 7, hasMore: true });
    has(await sync(late, { roomId: room, limit: 100 }), { syncedMessageCount: 60, hasMore: false });
  },
  async '16'() {
    const { ann, room, one, two } = await pair();
    const sent = await send(one, room);
    const message = { id: sent.id, content: 'Hello world!', sender: ann, roomId: room, timestamp: isDate };
    for (const member of [one, two]) has(await member.hear('newMessage'), message);
  },
  async '17'() {
    const { bob, one } = await pair();
    has(await one.hear('userJoinedRoom'), { userId: bob, timestamp: isDate });
  },
  async '18'() {
    const { bob, room, one, two } = await pair();
    two.emit('leaveRoom', room);
    has(await one.hear('userLeftRoom'), { userId: bob, timestamp: isDate });
    await join(two, room);
    two.close();
    await one.hear('userLeftRoom', { userId: bob });
  },
  async '19'() {
    const ann = fresh('ann');
    const one = await client(ann);
    const two = await client(ann, { io: io2 });
    await (await server()).done(200, 'DELETE', `/websocket/users/${ann}/disconnect`, { token: token(ann) });
    for (const it of [one, two]) assert.equal(await it.hear('client disconnect'), 'io server disconnect');
    // As the document says, the client connects again by itself then.
    one.socket.connect();
    await one.hear('client connect');
  },
  async '20'() {
    const { http } = await server();
    has(await Sio.refusal(`${http}/chat`, { query: { token: 'bad' } }), { message: isText });
    // Version 2 hears it as `error`, as the document has it.
    const old = new Sio(`${http}/chat`, { io: io2, query: { token: 'bad' } });
    await old.hear('client error');
    old.close();
    const one = await client(fresh('ann'));
    one.emit('authenticate', { token: token('another') });
    has(await one.hear('error'), { code: 'FORBIDDEN', message: isText });
  },
  async '21'() {
    const { room, one } = await pair();
    for (let left = 101; left > 0; left -= 1) one.emit('sendMessage', { content: 'x', roomId: room });
    has(await one.hear('error'), { code: 'RATE_LIMITED', message: isText });
  },
  async '22'() {
    const { room, one } = await pair();
    for (const [event, payload] of [['joinRoom', ''], ['sendMessage', { roomId: room }], ['typingIndicator', { roomId: room }], ['presenceUpdate', { status: 'asleep' }], ['syncMessages', { roomId: room, limit: -1 }]]) {
      one.emit(event, payload);
      has(await one.hear('error'), { code: 'INVALID_MESSAGE', message: isText });
    }
  },
  async '23'() {
    await withRedis([], async (port, redis) => {
      const on = await Server.start('004', { env: { REDIS_HOST: '127.0.0.1', REDIS_PORT: String(port) } });
      const { room, one } = await pair(on);
      redis.kill('SIGKILL');
      one.emit('sendMessage', { content: 'lost', roomId: room });
      has(await one.hear('error'), { code: 'STORAGE_UNAVAILABLE', message: isText });
      await on.stop();
    });
  },
  async '24'() {
    const [port, data, room] = [await freePort(), mkdtempSync(path(tmpdir(), 'switchboard-seeds-')), fresh('room')];
    const options = { data, listen: `127.0.0.1:${port}` };
    try {
      const first = await Server.start('004', options);
      const sender = await client('bob', { on: first });
      const strategy = { reconnection: true, reconnectionAttempts: Infinity, reconnectionDelay: 100, reconnectionDelayMax: 30000, randomizationFactor: 0.5 };
      const both = [await client('ann', { on: first, ...strategy }), await client('eve', { on: first, io: io2, ...strategy })];
      for (const it of [sender, ...both]) await join(it, room);
      await send(sender, room, 'known');
      const known = [];
      for (const it of both) known.push((await it.hear('newMessage', { content: 'known' })).id);
      await first.stop();
      const second = await Server.start('004', options);
      const again = await client('bob', { on: second });
      await join(again, room);
      await send(again, room, 'missed');
      for (const [index, it] of both.entries()) {
        await until('it is back', () => it.socket.connected);
        await join(it, room);
        const { syncedMessageCount } = await sync(it, { roomId: room, lastMessageId: known[index] });
        assert.ok(syncedMessageCount <= 1);
        await it.hear('newMessage', { content: 'missed' });
        it.close();
      }
      await second.stop();
    } finally {
      rmSync(data, { recursive: true, force: true });
    }
  },
  async '25'() {
    const { room, one, two } = await pair();
    const content = 'x'.repeat(16 * 1024);
    await send(one, room, content);
    await two.hear('newMessage', { content });
    one.emit('sendMessage', { content: `${content}x`, roomId: room });
    has(await one.hear('error'), { code: 'MESSAGE_TOO_LARGE', message: isText });
  },
  async '26'() {
    const { room, one, two } = await pair();
    // Batches are as large as 500 messages; text outside ASCII goes through as it is.
    one.emit('syncMessages', { roomId: room, limit: 501 });
    has(await one.hear('error'), { code: 'INVALID_MESSAGE' });
    has(await sync(one, { roomId: room, limit: 500 }), { syncedMessageCount: 0 });
    await send(one, room, 'Я ❤ 日本');
    await two.hear('newMessage', { content: 'Я ❤ 日本' });
  },
  async '27'() {
    const ann = fresh('ann');
    const now = Math.floor(Date.now() / 1000);
    const one = await client(ann, { claims: { exp: now + 30 } });
    has(await one.ask('authenticate', { token: token(ann) }), { success: true });
    has(await one.ask('authenticate', { token: 'bad' }), { success: false });
  },
});
