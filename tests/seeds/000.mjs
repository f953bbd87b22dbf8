// Checks of document 000: connections, rooms, messages and presence at `/ws`, and their REST calls.

import assert from 'node:assert/strict';
import { Raw, fresh, has, isCount, isDate, isNow, isText, run, shared, token, withServer } from './stage.mjs';

const server = shared('000');
const admin = token('root', { role: 'admin' });

async function client(user, query = {}) {
  return Raw.connect(await server(), { token: token(user), ...query });
}

/** Two members of a new room, and their names. */
async function pair() {
  const [ann, bob, room] = [fresh('ann'), fresh('bob'), fresh('room')];
  const one = await client(ann);
  const two = await client(bob);
  await one.join(room, 'a');
  await two.join(room, 'b');
  await one.hear('peer-joined', { peerId: 'b' });
  return { ann, bob, room, one, two };
}

async function createRoom(user, fields = {}) {
  const body = { name: 'Tea', type: 'group', participants: [user], isPrivate: false, ...fields };
  const { room } = await (await server()).done(201, 'POST', '/rooms', { token: token(user), body });
  return room;
}

await run({
  async '01'() {
    const ann = await client(fresh('ann'));
    assert.equal(ann.socket.readyState, 1);
  },
  async '02'() {
    const { ws } = await server();
    has(await Raw.refusal(ws), { status: 401, body: { code: 'UNAUTHENTICATED' } });
    has(await Raw.refusal(`${ws}?token=no-token`), { status: 401, body: { code: 'UNAUTHENTICATED', error: isText } });
    const expired = token('ann', { exp: 1 });
    has(await Raw.refusal(`${ws}?token=${expired}`), { status: 401, body: { code: 'TOKEN_EXPIRED' } });
    await Raw.connect(await server(), {}, { headers: { Authorization: `Bearer ${token('ann')}` } });
  },
  async '03'() {
    const settings = ['heartbeat.interval_ms=300', 'heartbeat.timeout_ms=1000'];
    await withServer('000', { settings }, async (quick) => {
      const alive = await Raw.connect(quick, { token: token('ann') });
      const dead = await Raw.connect(quick, { token: token('bob') }, { autoPong: false });
      has(await dead.closed, { code: 4408 });
      await alive.hearsNo('disconnect');
      assert.ok(alive.pings > 0);
    });
  },
  async '04'() {
    const ann = fresh('ann');
    const one = await client(ann);
    has(await one.hear('connect'), { connectionId: isText, userId: ann, timestamp: isNow });
  },
  async '05'() {
    const one = await client(fresh('ann'));
    const { connectionId } = await one.hear('connect');
    await (await server()).done(200, 'DELETE', `/connections/${connectionId}`, { token: admin });
    has(await one.hear('disconnect'), { reason: isText });
    has(await one.closed, { code: 4410 });
  },
  async '06'() {
    const { room, one, two } = await pair();
    const three = await client(fresh('cyd'));
    has(await three.join(room, 'c'), { roomId: room, peerId: 'c' });
    for (const member of [one, two]) has(await member.hear('peer-joined', { peerId: 'c' }), { roomId: room });
  },
  async '07'() {
    const { room, one, two } = await pair();
    two.send('leave-room', { roomId: room });
    await two.hear('room-left', { roomId: room });
    await one.hear('peer-left', { roomId: room, peerId: 'b' });
  },
  async '08'() {
    const { ann, bob, one, two } = await pair();
    one.send('message', { toUserId: bob, content: 'psst' });
    await one.hear('message-sent');
    has(await two.hear('message'), { sender: ann, content: 'psst' });
  },
  async '09'() {
    const { ann, room, one, two } = await pair();
    one.send('message', { roomId: room, content: 'Hello' });
    has(await one.hear('message-sent'), { roomId: room, id: isText });
    has(await two.hear('message'), { roomId: room, sender: ann, content: 'Hello' });
  },
  async '10'() {
    const { ann, one, two } = await pair();
    for (const status of ['away', 'busy', 'online']) {
      one.send('presence', { status });
      await two.hear('presence', { userId: ann, status });
    }
  },
  async '11'() {
    const { ann, room, one, two } = await pair();
    for (const isTyping of [true, false]) {
      one.send('typing', { roomId: room, isTyping });
      await two.hear('typing', { roomId: room, userId: ann, isTyping });
    }
  },
  async '12'() {
    const { bob, room, one, two } = await pair();
    one.send('message', { roomId: room, content: 'Read this' });
    const { id } = await two.hear('message');
    two.send('read-receipt', { roomId: room, messageId: id });
    await one.hear('read-receipt', { roomId: room, messageId: id, userId: bob });
  },
  async '13'() {
    const ann = fresh('ann');
    const one = await client(ann);
    const { connectionId } = await one.hear('connect');
    const deviceInfo = { os: 'plan 9' };
    const body = { userId: ann, socketId: connectionId, deviceInfo };
    const answer = await (await server()).done(201, 'POST', '/connections', { token: token(ann), body });
    assert.deepEqual(answer, { connectionId, status: 'connected' });
    const later = { userId: ann, socketId: fresh('tab'), deviceInfo };
    const pending = await (await server()).done(201, 'POST', '/connections', { token: token(ann), body: later });
    assert.deepEqual(pending, { connectionId: later.socketId, status: 'pending' });
    await client(ann, { socketId: later.socketId });
    const { connections } = await (await server()).done(200, 'GET', `/connections/${ann}`, { token: token(ann) });
    assert.deepEqual(connections.map((it) => it.deviceInfo), [deviceInfo, deviceInfo]);
  },
  async '14'() {
    const ann = fresh('ann');
    const one = await client(ann);
    const { connectionId } = await one.hear('connect');
    const answer = await (await server()).done(200, 'DELETE', `/connections/${connectionId}`, { token: token(ann) });
    assert.deepEqual(answer, { message: 'Connection closed' });
    await one.closed;
  },
  async '15'() {
    const ann = fresh('ann');
    const { connectionId } = await (await client(ann)).hear('connect');
    const answer = await (await server()).done(200, 'GET', `/connections/${ann}`, { token: token(ann) });
    has(answer, { connections: [{ connectionId }] });
  },
  async '16'() {
    const ann = fresh('ann');
    await client(ann);
    await client(ann);
    const answer = await (await server()).done(200, 'GET', `/presence/${ann}`, { token: token('bob') });
    assert.deepEqual(Object.keys(answer).sort(), ['connections', 'lastSeen', 'status', 'userId']);
    has(answer, { userId: ann, status: 'online', lastSeen: isDate, connections: 2 });
  },
  async '17'() {
    const { ann, one, two } = await pair();
    const put = { token: token(ann), body: { status: 'busy', lastSeen: new Date().toISOString() } };
    assert.deepEqual(await (await server()).done(200, 'PUT', `/presence/${ann}`, put), { userId: ann, status: 'busy' });
    await two.hear('presence', { userId: ann, status: 'busy' });
    await one.hear('presence', { userId: ann, status: 'busy' });
    // A backend may know when a user was last here who has no connection.
    const gone = fresh('gone');
    const body = { status: 'offline', lastSeen: '2025-01-09T21:30:00.000Z' };
    assert.deepEqual(await (await server()).done(200, 'PUT', `/presence/${gone}`, { token: admin, body }), { userId: gone, status: 'offline' });
    has(await (await server()).done(200, 'GET', `/presence/${gone}`, { token: admin }), { status: 'offline', ...body });
  },
  async '18'() {
    const { one, two } = await pair();
    const body = { message: 'Tea is ready', type: 'announcement' };
    const answer = await (await server()).done(200, 'POST', '/broadcast', { token: admin, body });
    assert.deepEqual(answer, { message: 'Broadcast sent' });
    for (const member of [one, two]) await member.hear('message', { messageType: 'announcement', data: 'Tea is ready' });
  },
  async '19'() {
    const refused = await (await server()).done(403, 'POST', '/broadcast', { token: token('ann'), body: { message: 'x', type: 'y' } });
    has(refused, { code: 'FORBIDDEN', error: isText });
  },
  async '20'() {
    const [ann, bob] = [fresh('ann'), fresh('bob')];
    const room = await createRoom(ann, { participants: [ann, bob], isPrivate: true });
    has(room, { roomId: isText, name: 'Tea', type: 'group', isPrivate: true, participants: [ann, bob] });
    await (await client(bob)).join(room.roomId, 'b');
    const eve = await client(fresh('eve'));
    eve.send('join-room', { roomId: room.roomId, peerId: 'e' });
    await eve.hear('error');
  },
  async '21'() {
    const ann = fresh('ann');
    const { roomId } = await createRoom(ann);
    const { room } = await (await server()).done(200, 'GET', `/rooms/${roomId}`, { token: token(ann) });
    has(room, { roomId, name: 'Tea', type: 'group', isPrivate: false, participants: [ann], createdAt: isDate, participantCount: isCount });
  },
  async '22'() {
    const bob = fresh('bob');
    const { roomId } = await createRoom(fresh('ann'));
    const two = await client(bob);
    const answer = await (await server()).done(200, 'POST', `/rooms/${roomId}/join`, { token: token(bob) });
    assert.deepEqual(answer, { message: 'Joined room' });
    await two.hear('room-joined', { roomId });
  },
  async '23'() {
    const { ann, room, one } = await pair();
    const answer = await (await server()).done(200, 'POST', `/rooms/${room}/leave`, { token: token(ann) });
    assert.deepEqual(answer, { message: 'Left room' });
    await one.hear('room-left', { roomId: room });
  },
  async '24'() {
    const ann = fresh('ann');
    const ids = [];
    for (let left = 3; left > 0; left -= 1) ids.push((await (await client(ann)).hear('connect')).connectionId);
    const { connections } = await (await server()).done(200, 'GET', `/connections/${ann}`, { token: token(ann) });
    assert.deepEqual(connections.map((it) => it.connectionId).sort(), ids.sort());
  },
  async '25'() {
    const { bob, room, one, two } = await pair();
    const { recoveryToken } = await two.hear('connect');
    const { epoch, seq } = await two.join(room, 'b');
    two.socket.terminate();
    one.send('message', { roomId: room, content: 'meanwhile' });
    await one.hear('message-sent');
    const again = await client(bob);
    again.send('resume', { recoveryToken, rooms: { [room]: { epoch, seq } } });
    has(await again.hear('resumed'), { rooms: { [room]: { recovered: true, messages: [{ content: 'meanwhile' }] } } });
    await one.hearsNo('peer-left');
  },
});
