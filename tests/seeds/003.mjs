// Checks of document 003: chat with events of the form `message:send`, answered by acknowledgements.

import assert from 'node:assert/strict';
import { Sio, fresh, has, isCount, isDate, isText, listeners, run, shared, token, until, withServer } from './stage.mjs';

const server = shared('003');

async function client(user, { on, claims = {}, ...options } = {}) {
  const { http } = on ?? (await server());
  return Sio.connect(`${http}/chat`, { auth: { token: token(user, { name: user.toUpperCase(), ...claims }) }, ...options });
}

async function join(sio, chatId) {
  has(await sio.ask('join:chat', { chatId }), { success: true });
}

/** Two members of a new chat, and their names. */
async function pair(on) {
  const [ann, bob, chatId] = [fresh('ann'), fresh('bob'), fresh('chat')];
  const [one, two] = [await client(ann, { on }), await client(bob, { on })];
  await join(one, chatId);
  await join(two, chatId);
  return { ann, bob, chatId, one, two };
}

async function send(sio, chatId, content = 'Hello, world!') {
  const { sentMessage } = has(await sio.ask('message:send', { chatId, content, type: 'text' }), { success: true });
  return sentMessage;
}

const among = (list, where) => list.find((it) => Object.entries(where).every(([key, value]) => it[key] === value));
const entry = (user) => ({ userId: user, username: user.toUpperCase(), status: 'online', lastSeen: isDate, connectedAt: isDate });
const session = (sio, user, rooms) => ({ userId: user, socketId: sio.socket.id, connectedAt: isDate, lastActivity: isDate, rooms, messageQueue: Array.isArray, recoveryToken: isText });
const METRICS = {
  totalConnections: isCount, activeConnections: isCount, failedConnections: isCount, averageConnectionDuration: Number.isFinite, peakConnections: isCount,
  connectionsPerMinute: Number.isFinite, lastReset: isDate,
};

await run({
  async '01'() {
    assert.deepEqual(await listeners('003'), ['127.0.0.1:3001', '[::1]:3001']);
    const { host } = await server();
    const one = await Sio.connect(`ws://${host}/chat`, { auth: { token: token('ann') } });
    assert.ok(isText(one.socket.id));
  },
  async '02'() {
    const { http } = await server();
    await client(fresh('ann'));
    has(await Sio.refusal(`${http}/chat`), { data: { code: 'UNAUTHENTICATED' } });
    has(await Sio.refusal(`${http}/chat`, { auth: { token: '' } }), { message: isText });
  },
  async '03'() {
    const one = await client(fresh('ann'));
    one.close();
    assert.equal(await one.hear('client disconnect'), 'io client disconnect');
    const ann = fresh('ann');
    const two = await client(ann);
    await (await server()).done(200, 'DELETE', `/websocket/users/${ann}/disconnect`, { token: token(ann) });
    assert.equal(await two.hear('client disconnect'), 'io server disconnect');
  },
  async '04'() {
    const { http } = await server();
    for (const wrong of ['your-jwt-token', token('ann', { exp: 1 }), token('')]) has(await Sio.refusal(`${http}/chat`, { auth: { token: wrong } }), { message: isText });
  },
  async '05'() {
    await withServer('003', { settings: ['limits.exempt=[]'] }, async (on) => {
      for (let left = 5; left > 0; left -= 1) has(await Sio.refusal(`${on.http}/chat`, { auth: { token: 'bad' } }), { data: { code: 'UNAUTHENTICATED' } });
      const blocked = await until('the address is blocked', async () => {
        const answer = await on.call('GET', '/socket.io/?EIO=4&transport=polling');
        return answer.status === 429 && answer;
      });
      const wait = Number(blocked.headers.get('retry-after'));
      assert.ok(wait > 880 && wait <= 900, String(wait));
      await Sio.refusal(`${on.http}/chat`, { auth: { token: token('ann') } });
    });
    // Addresses are apart: the client behind a proxy is the one that the proxy names.
    await withServer('003', { settings: ['limits.exempt=[]', 'trusted_proxies=["127.0.0.1"]'] }, async (on) => {
      const from = (address) => ({ extraHeaders: { 'X-Forwarded-For': address } });
      for (let left = 5; left > 0; left -= 1) await Sio.refusal(`${on.http}/chat`, { auth: { token: 'bad' }, ...from('192.0.2.1') });
      await until('it is blocked', async () => (await on.call('GET', '/socket.io/?EIO=4&transport=polling', { headers: { 'X-Forwarded-For': '192.0.2.1' } })).status === 429);
      await client('ann', { on, ...from('192.0.2.2') });
    });
  },
  async '06'() {
    const { chatId, one } = await pair();
    const cyd = fresh('cyd');
    const three = await client(cyd);
    const roomInfo = { chatId, participantCount: 3, isActive: true, lastActivity: isDate };
    has(await three.ask('join:chat', { chatId }), { success: true, message: 'Joined chat successfully', roomInfo });
    has(await three.hear('room:joined'), { chatId });
    has(await one.hear('user:joined', { userId: cyd }), { chatId, username: cyd.toUpperCase() });
    await one.hear('room:online-update', { chatId, onlineCount: 3 });
    await three.hear('room:online-update', { chatId, onlineCount: 3 });
  },
  async '07'() {
    const { bob, chatId, one, two } = await pair();
    assert.deepEqual(await two.ask('leave:chat', { chatId }), { success: true, message: 'Left chat successfully' });
    await two.hear('room:left', { chatId });
    await one.hear('user:left', { userId: bob, chatId });
    await one.hear('room:online-update', { chatId, onlineCount: 1 });
  },
  async '08'() {
    const body = { name: 'Chat Room Name', type: 'group', participants: [], isPrivate: false, description: 'Chat description' };
    const { room } = await (await server()).done(201, 'POST', '/rooms', { token: token('ann'), body });
    const one = await client(fresh('ann'));
    await join(one, room.roomId);
    const roomInfo = { chatId: room.roomId, name: body.name, description: body.description, participantCount: isCount, onlineCount: 1, isActive: true, lastActivity: isDate };
    has(await one.ask('room:info', { chatId: room.roomId }), { success: true, roomInfo });
  },
  async '09'() {
    const { chatId, one } = await pair();
    const { success, rooms } = await one.ask('room:list', {});
    assert.ok(success);
    has(among(rooms, { chatId }), { chatId, name: isText, participantCount: 2, lastActivity: isDate });
  },
  async '10'() {
    const { ann, bob, chatId, one } = await pair();
    const { success, onlineUsers } = await one.ask('room:online', { chatId });
    assert.ok(success && onlineUsers.length === 2);
    for (const user of [ann, bob]) has(among(onlineUsers, { userId: user }), entry(user));
  },
  async '11'() {
    const { ann, chatId, one } = await pair();
    const user = { id: ann, username: ann.toUpperCase() };
    const sentMessage = { id: isText, content: 'Hello, world!', type: 'text', chatId, userId: ann, createdAt: isDate, user };
    has(await one.ask('message:send', { chatId, content: 'Hello, world!', type: 'text' }), { success: true, message: 'Message sent successfully', sentMessage });
    for (const type of ['image', 'file']) has(await one.ask('message:send', { chatId, content: 'x', type }), { sentMessage: { type } });
  },
  async '12'() {
    const { ann, chatId, one, two } = await pair();
    const sent = await send(one, chatId);
    for (const member of [one, two]) has(await member.hear('message:new'), { ...sent, userId: ann });
    has(await one.hear('message:sent'), { messageId: sent.id, chatId });
  },
  async '13'() {
    const { ann, chatId, one, two } = await pair();
    for (const isTyping of [true, false]) {
      assert.deepEqual(await one.ask('message:typing', { chatId, isTyping }), { success: true, message: 'Typing status updated' });
      has(await two.hear('user:typing'), { chatId, userId: ann, isTyping });
    }
  },
  async '14'() {
    const { ann, chatId, one, two } = await pair();
    await one.ask('message:typing', { chatId, isTyping: true });
    const typingUsers = [{ userId: ann, username: ann.toUpperCase(), chatId, startedAt: isDate }];
    has(await two.ask('message:typing-users', { chatId }), { success: true, typingUsers });
  },
  async '15'() {
    const { bob, chatId, one, two } = await pair();
    const { id } = await send(one, chatId);
    assert.deepEqual(await two.ask('message:delivered', { messageId: id, chatId }), { success: true, message: 'Delivery confirmed' });
    for (const member of [one, two]) await member.hear('message:delivered', { messageId: id, chatId, userId: bob });
  },
  async '16'() {
    const { bob, chatId, one, two } = await pair();
    const { id } = await send(one, chatId);
    assert.deepEqual(await two.ask('message:read', { messageId: id, chatId }), { success: true, message: 'Read confirmation recorded' });
    for (const member of [one, two]) await member.hear('message:read', { messageId: id, chatId, userId: bob });
  },
  async '17'() {
    const { bob, chatId, one, two } = await pair();
    const cyd = fresh('cyd');
    const three = await client(cyd);
    await join(three, chatId);
    const { id } = await send(one, chatId);
    await two.ask('message:read', { messageId: id, chatId });
    await three.ask('message:delivered', { messageId: id, chatId });
    const { success, status } = await one.ask('message:delivery-status', { messageId: id });
    assert.ok(success);
    has(status, { messageId: id, readBy: [bob], sentAt: isDate, lastUpdate: isDate });
    assert.deepEqual([...status.deliveredTo].sort(), [bob, cyd].sort());
  },
  async '18'() {
    const { chatId, one, two } = await pair();
    const before = (await one.ask('message:stats', {})).stats;
    const { id } = await send(one, chatId);
    await two.ask('message:read', { messageId: id, chatId });
    await two.ask('message:typing', { chatId, isTyping: true });
    const { success, stats } = await one.ask('message:stats', {});
    assert.ok(success && isCount(stats.activeTypingUsers) && stats.activeTypingUsers >= 1);
    has(stats, { trackedMessages: before.trackedMessages + 1, totalDelivered: before.totalDelivered + 1, totalRead: before.totalRead + 1 });
  },
  async '19'() {
    const { ann, one } = await pair();
    const stranger = await client(fresh('stranger'));
    for (const status of ['away', 'busy']) {
      assert.deepEqual(await one.ask('presence:update-status', { status }), { success: true, message: 'Status updated successfully' });
      await stranger.hear('user:status-changed', { userId: ann, status });
    }
    has(await one.ask('presence:update-status', { status: 'online' }), { success: true });
  },
  async '20'() {
    const { ann, bob, one } = await pair();
    const { success, users } = await one.ask('presence:online-users', {});
    assert.ok(success);
    for (const user of [ann, bob]) has(among(users, { userId: user }), entry(user));
  },
  async '21'() {
    const { one } = await pair();
    const dora = fresh('dora');
    const other = await client(dora, { claims: { email: 'dora@example.com' }, extraHeaders: { 'User-Agent': 'Mozilla/5.0' }, transports: ['websocket'] });
    const presence = { ...entry(dora), email: 'dora@example.com', socketId: other.socket.id, userAgent: 'Mozilla/5.0', ipAddress: '127.0.0.1' };
    has(await one.ask('presence:user-status', { userId: dora }), { success: true, presence });
  },
  async '22'() {
    await withServer('003', { settings: ['presence.grace_ms=0'] }, async (on) => {
      const [one, two, gone] = [await client('ann', { on }), await client('bob', { on }), await client('cyd', { on })];
      const three = await client('dan', { on });
      await two.ask('presence:update-status', { status: 'away' });
      await three.ask('presence:update-status', { status: 'busy' });
      gone.close();
      await one.hear('user:offline', { userId: 'cyd' });
      const expected = { totalUsers: 4, onlineUsers: 1, awayUsers: 1, busyUsers: 1, offlineUsers: 1 };
      assert.deepEqual(await one.ask('presence:stats', {}), { success: true, stats: expected });
    });
  },
  async '23'() {
    const one = await client(fresh('ann'));
    const { success, recoveryToken } = await one.ask('connection:create-session', {});
    assert.ok(success && isText(recoveryToken));
    await one.hear('connection:recovery-token', { recoveryToken });
  },
  async '24'() {
    const { bob, chatId, one, two } = await pair();
    const { recoveryToken } = await two.ask('connection:create-session', {});
    two.socket.io.engine.close();
    const missed = await send(one, chatId, 'while you were away');
    const again = await client(bob);
    const answer = await again.ask('connection:recover', { recoveryToken });
    has(answer, { success: true, message: 'Connection recovered successfully', session: { ...session(again, bob, [chatId]), messageQueue: [missed.id] } });
    await again.hear('connection:recovered', { userId: bob });
    has(await again.hear('connection:queued-messages'), { messages: [{ id: missed.id, content: 'while you were away' }] });
    await send(one, chatId, 'now');
    await again.hear('message:new', { content: 'now' });
  },
  async '25'() {
    const { ann, chatId, one } = await pair();
    has(await one.ask('connection:session-info', {}), { success: true, sessionInfo: session(one, ann, [chatId]) });
  },
  async '26'() {
    const { chatId, one, two } = await pair();
    await two.ask('connection:create-session', {});
    two.socket.io.engine.close();
    await send(one, chatId);
    const { success, stats } = await until('a queued message', async () => {
      const answer = await one.ask('connection:stats', {});
      return answer.stats?.queuedMessages >= 1 && answer;
    });
    assert.ok(success && stats.activeSessions >= 2 && stats.recoveryTokens >= 1);
    has(stats, { averageSessionAge: Number.isFinite });
  },
  async '27'() {
    const { one } = await pair();
    const { success, metrics } = await one.ask('monitoring:metrics', {});
    has(metrics, METRICS);
    assert.ok(success && metrics.activeConnections >= 2 && metrics.totalConnections >= metrics.activeConnections);
  },
  async '28'() {
    const { ann, one } = await pair();
    const { success, events } = await one.ask('monitoring:events', { limit: 1000 });
    assert.ok(success);
    has(among(events, { userId: ann, type: 'connect' }), { type: 'connect', socketId: one.socket.id, userId: ann, ipAddress: '127.0.0.1', userAgent: () => true, timestamp: isDate, details: Object });
  },
  async '29'() {
    await withServer('003', { settings: ['limits.messages_per_minute=1'] }, async (on) => {
      const { ann, chatId, one, two } = await pair(on);
      await Sio.refusal(`${on.http}/chat`, { auth: { token: 'bad' } });
      for (let left = 2; left > 0; left -= 1) await one.ask('message:send', { chatId, content: 'x' });
      await one.ask('room:info', { chatId: 7 });
      two.close();
      const events = async (filter) => (await one.ask('monitoring:events', filter)).events;
      await until('the disconnect is listed', async () => (await events({ type: 'disconnect' })).length === 1);
      for (const type of ['connect', 'disconnect', 'error', 'rate_limit', 'auth_failure']) {
        const list = await events({ type });
        assert.ok(list.length > 0 && list.every((it) => it.type === type), type);
      }
      assert.equal((await events({ limit: 2 })).length, 2);
      assert.ok((await events({ userId: ann })).every((it) => it.userId === ann));
      assert.ok((await events({ ip: '127.0.0.1' })).length > 0);
      assert.deepEqual(await events({ ip: '192.168.1.1' }), []);
    });
  },
  async '30'() {
    const { one } = await pair();
    const { success, stats } = await one.ask('monitoring:stats', {});
    assert.ok(success && stats.errorRate >= 0 && stats.errorRate <= 1);
    has(stats, { metrics: METRICS, recentEvents: Array.isArray, topIPs: Array.isArray, topUserAgents: Array.isArray });
    has(among(stats.topIPs, { ip: '127.0.0.1' }), { count: isCount });
    has(stats.topUserAgents[0], { userAgent: isText, count: isCount });
  },
  async '31'() {
    const { one } = await pair();
    assert.deepEqual(await one.ask('monitoring:health', {}), { success: true, health: { status: 'healthy', issues: [], recommendations: [] } });
    await withServer('003', { settings: ['limits.connections=10'] }, async (on) => {
      const clients = [];
      for (const [count, status] of [[8, 'warning'], [10, 'critical']]) {
        while (clients.length < count) clients.push(await client(fresh('ann'), { on, transports: ['websocket'] }));
        const health = await until(status, async () => {
          const answer = await clients[0].ask('monitoring:health', {});
          return answer.health.status === status && answer.health;
        });
        assert.ok(health.issues.length > 0 && health.recommendations.length > 0);
      }
    });
  },
  async '32'() {
    await withServer('003', { settings: ['presence.grace_ms=0'] }, async (on) => {
      const one = await client('ann', { on });
      const two = await client('bob', { on });
      has(await one.hear('user:online'), { userId: 'bob', username: 'BOB' });
      two.close();
      has(await one.hear('user:offline'), { userId: 'bob', username: 'BOB' });
    });
  },
  async '33'() {
    const owner = fresh('ann');
    const body = { name: 'Tea', type: 'group', participants: [], isPrivate: false };
    const { room } = await (await server()).done(201, 'POST', '/rooms', { token: token(owner), body });
    const one = await client(fresh('bob'));
    await join(one, room.roomId);
    await (await server()).done(200, 'PATCH', `/rooms/${room.roomId}`, { token: token(owner), body: { name: 'More tea', description: 'Every afternoon' } });
    await one.hear('room:info', { chatId: room.roomId, name: 'More tea', description: 'Every afternoon' });
  },
  async '34'() {
    const { ann } = await pair();
    const { users } = await (await client(fresh('cyd'))).hear('users:online');
    has(among(users, { userId: ann }), entry(ann));
  },
  async '35'() {
    const { chatId, one } = await pair();
    const asked = [['room:info', { chatId }], ['room:list', {}], ['presence:stats', {}], ['connection:session-info', {}], ['monitoring:metrics', {}]];
    for (const [event, payload] of asked) has(await one.ask(event, payload), { success: true });
    for (const [event, payload] of [['room:info', {}], ['message:send', { chatId }], ['presence:user-status', {}], ['dance', {}]]) {
      has(await one.ask(event, payload), { success: false, message: isText });
    }
  },
  async '36'() {
    // A client without a user is not let in, so it has no socket to send events by.
    const { http } = await server();
    const events = ['join:chat', 'message:send', 'presence:stats', 'connection:stats', 'monitoring:health'];
    const one = new Sio(`${http}/chat`);
    has(await one.hear('client connect_error'), { data: { code: 'UNAUTHENTICATED' } });
    for (const event of events) one.emit(event, {}, () => assert.fail(`${event} is answered`));
    assert.equal(one.socket.connected, false);
    // One that is in and shows a token that is none is told so in an answer.
    has(await (await client(fresh('ann'))).ask('authenticate', { token: 'bad' }), { success: false, message: 'User not authenticated' });
  },
  async '37'() {
    const { chatId, one } = await pair();
    const answers = await Promise.all(Array.from({ length: 101 }, () => one.ask('message:send', { chatId, content: 'x' })));
    const refused = answers.filter((answer) => !answer.success);
    has(refused, [{ message: 'Message rate limit exceeded. Please slow down.' }]);
  },
  async '38'() {
    const { chatId, one, two } = await pair();
    const answers = await Promise.all(Array.from({ length: 11 }, () => one.ask('message:typing', { chatId, isTyping: true })));
    assert.equal(answers.filter((answer) => answer.success).length, 10);
    has(await two.ask('message:typing', { chatId, isTyping: true }), { success: true });
  },
  async '39'() {
    const { chatId, one } = await pair();
    for (const [event, payload] of [['join:chat', {}], ['message:send', { chatId }], ['message:typing', { chatId, isTyping: 'yes' }], ['presence:update-status', { status: 'asleep' }]]) {
      has(await one.ask(event, payload), { success: false, message: 'Invalid request data' });
    }
  },
  async '40'() {
    const { one } = await pair();
    const body = { name: 'Secret', type: 'group', participants: [], isPrivate: true };
    const { room } = await (await server()).done(201, 'POST', '/rooms', { token: token('owner'), body });
    const [unknown, secret] = [await one.ask('room:info', { chatId: fresh('unknown') }), await one.ask('join:chat', { chatId: room.roomId })];
    has(unknown, { success: false, message: 'Chat not found or access denied' });
    // A private chat must not be told from one that does not exist.
    assert.deepEqual(secret, unknown);
  },
  async '41'() {
    await withServer('003', { settings: ['cors.origins=https://app.example'] }, async (on) => {
      await client('ann', { on, extraHeaders: { Origin: 'https://app.example' } });
      await Sio.refusal(`${on.http}/chat`, { auth: { token: token('ann') }, extraHeaders: { Origin: 'https://evil.example' } });
      has(await on.call('GET', '/socket.io/?EIO=4&transport=polling', { headers: { Origin: 'https://evil.example' } }), { status: 403 });
    });
  },
  async '42'() {
    const { http } = await server();
    const one = new Sio(`${http}/chat`, { auth: { token: token('dora', { name: 'Dora' }) } });
    const hello = new Promise((resolve) => one.socket.on('message:new', resolve));
    await new Promise((resolve) => one.socket.on('connect', resolve));
    const ask = (event, payload) => new Promise((resolve, reject) => {
      one.socket.emit(event, payload, (response) => (response.success ? resolve(response) : reject(new Error(response.message))));
    });
    const chatId = fresh('chat-uuid');
    await ask('join:chat', { chatId });
    const typing = await client(fresh('bob'));
    await join(typing, chatId);
    await ask('message:send', { chatId, content: 'Hello, world!', type: 'text' });
    has(await hello, { content: 'Hello, world!' });
    one.socket.emit('message:typing', { chatId, isTyping: true });
    await typing.hear('user:typing', { userId: 'dora' });
    one.socket.disconnect();
  },
  async '43'() {
    await withServer('003', { settings: ['log.level=debug'] }, async (on) => {
      const one = await client('ann', { on });
      const { id } = one.socket;
      await on.logged(new RegExp(` connected.*${id}`));
      one.emit('room:info', { chatId: 'unknown' });
      await on.logged(new RegExp(`request refused.*${id}.*ROOM_NOT_FOUND`));
      one.close();
      await on.logged(new RegExp(` disconnected.*${id}`));
      assert.ok(!on.lines.some((line) => line.includes('eyJ')), 'a token is in the log');
    });
  },
});
