// Checks of document 001: WebRTC signaling at `/ws`, and meetings by REST, without tokens.

import assert from 'node:assert/strict';
import { Raw, SECRET, Server, fresh, has, isCount, isDate, isNow, isText, listeners, run, shared, token, until, withRedis, withServer } from './stage.mjs';

const server = shared('001');
const CLIENT = 'http://localhost:3000';
const MEDIA = { audio: true, video: false, screen: false };

async function createRoom(on, fields = {}) {
  const body = { hostPeerId: fresh('host'), maxParticipants: 10, encryption: 'none', ...fields };
  return on.done(201, 'POST', '/api/rooms', { body });
}

/** Two members of a meeting. */
async function pair(on) {
  on ??= await server();
  const { roomId } = await createRoom(on);
  const [one, two] = [await Raw.connect(on), await Raw.connect(on)];
  await one.join(roomId, 'peer1', { displayName: 'Jane Smith', mediaState: MEDIA });
  await two.join(roomId, 'peer2', { displayName: 'John Doe', mediaState: MEDIA });
  return { roomId, one, two };
}

/** The ICE servers that members of a server with these variables get. */
async function iceServers(env) {
  return withServer('001', { env }, async (on) => {
    const { roomId } = await createRoom(on);
    return (await (await Raw.connect(on)).join(roomId, 'a')).iceServers;
  });
}

/** A signal goes from one peer to the other as it is. */
async function relays(type, field, value) {
  const { roomId, one, two } = await pair();
  one.send(type, { roomId, fromPeerId: 'peer1', toPeerId: 'peer2', [field]: value });
  const heard = await two.hear(type);
  has(heard, { roomId, fromPeerId: 'peer1', toPeerId: 'peer2', timestamp: isNow });
  assert.deepEqual(heard[field], value);
}

/** Answers of a server with this Redis, and then of another one after the first has gone. */
async function keptInRedis(redisArgs, env) {
  await withRedis(redisArgs, async (port) => {
    const options = { env: { REDIS_HOST: '127.0.0.1', REDIS_PORT: String(port), ...env } };
    const first = await Server.start('001', options);
    const { roomId } = await createRoom(first);
    await first.stop();
    await withServer('001', options, async (second) => {
      has(await second.done(200, 'GET', `/api/rooms/${roomId}`), { roomId });
      has(await (await Raw.connect(second)).join(roomId, 'a'), { roomId });
    });
  });
}

await run({
  async '01'() {
    assert.deepEqual(await listeners('001'), ['127.0.0.1:4000', '[::1]:4000']);
    assert.equal((await Raw.connect(await server())).socket.readyState, 1);
  },
  async '02'() {
    await pair();
    await (await server()).done(200, 'GET', '/api/rooms');
  },
  async '03'() {
    const { roomId, one, two } = await pair();
    for (const message of [await one.hear('peer-joined'), await one.join(roomId, 'peer1')]) has(message, { type: isText, timestamp: isNow });
    // A time of the client's own changes nothing.
    two.socket.send(JSON.stringify({ type: 'leave-room', roomId, peerId: 'peer2', timestamp: 1234567890 }));
    has(await one.hear('peer-left'), { timestamp: isNow });
  },
  async '04'() {
    const { roomId } = await createRoom(await server());
    const one = await Raw.connect(await server());
    const joined = await one.join(roomId, 'peer-unique-id', { displayName: 'John Doe', mediaState: MEDIA });
    has(joined, { type: 'room-joined', roomId, peerId: 'peer-unique-id', peers: [], iceServers: Array.isArray, timestamp: isNow });
  },
  async '05'() {
    const { roomId } = await pair();
    const three = await (await Raw.connect(await server())).join(roomId, 'peer3');
    const peers = three.peers.sort((a, b) => (a.peerId < b.peerId ? -1 : 1));
    has(peers, [{ peerId: 'peer1', displayName: 'Jane Smith', mediaState: MEDIA }, { peerId: 'peer2', displayName: 'John Doe', mediaState: MEDIA }]);
  },
  async '06'() {
    const { roomId, one, two } = await pair();
    two.send('leave-room', { roomId, peerId: 'peer2' });
    await one.hear('peer-left', { roomId, peerId: 'peer2' });
    has(await (await server()).done(200, 'GET', `/api/rooms/${roomId}`), { participantCount: 1 });
  },
  '07': () => relays('offer', 'offer', { type: 'offer', sdp: 'v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\n' }),
  '08': () => relays('answer', 'answer', { type: 'answer', sdp: 'v=0\r\n' }),
  async '09'() {
    await relays('ice-candidate', 'candidate', { candidate: 'candidate:1 1 UDP 1 192.0.2.1 9 typ host', sdpMLineIndex: 0, sdpMid: '0' });
    await relays('ice-candidate', 'candidate', null);
  },
  async '10'() {
    const { roomId, one, two } = await pair();
    const mediaState = { audio: false, video: true, screen: false };
    one.send('media-state-changed', { roomId, peerId: 'peer1', mediaState });
    has(await two.hear('media-state-changed'), { roomId, peerId: 'peer1', mediaState, timestamp: isNow });
  },
  async '11'() {
    const { roomId, one } = await pair();
    has(await one.hear('peer-joined'), { roomId, peerId: 'peer2', displayName: 'John Doe', mediaState: MEDIA, timestamp: isNow });
  },
  async '12'() {
    const { roomId, one, two } = await pair();
    await two.close();
    has(await one.hear('peer-left'), { roomId, peerId: 'peer2', timestamp: isNow });
  },
  async '13'() {
    const one = await Raw.connect(await server());
    one.send('join-room', { roomId: fresh('unknown'), peerId: 'a' });
    has(await one.hear('error'), { error: 'Room not found', code: 'ROOM_NOT_FOUND', timestamp: isNow });
  },
  async '14'() {
    const hostPeerId = 'host-unique-id';
    const room = await createRoom(await server(), { hostPeerId });
    assert.deepEqual(Object.keys(room).sort(), ['createdAt', 'encryption', 'hostPeerId', 'hostSecret', 'joinLink', 'maxParticipants', 'roomId']);
    has(room, { roomId: isText, hostPeerId, maxParticipants: 10, encryption: 'none', createdAt: isDate });
  },
  async '15'() {
    const { roomId, joinLink } = await createRoom(await server());
    assert.equal(joinLink, `${CLIENT}/meeting/${roomId}`);
  },
  async '16'() {
    const { roomId } = await pair();
    const room = await (await server()).done(200, 'GET', `/api/rooms/${roomId}`);
    const peers = room.peers.map((peer) => peer.peerId).sort();
    has({ ...room, peers }, { roomId, meetingInfo: { maxParticipants: 10 }, connectionMode: 'p2p', participantCount: 2, peers: ['peer1', 'peer2'] });
  },
  async '17'() {
    const on = await server();
    const { roomId, hostSecret } = await createRoom(on);
    // A guest has no name that it could prove: its room's host is known by the secret in the answer that made the room.
    assert.equal((await on.call('DELETE', `/api/rooms/${roomId}`)).status, 403);
    const closed = await on.call('DELETE', `/api/rooms/${roomId}`, { headers: { 'X-Host-Secret': hostSecret } });
    assert.deepEqual([closed.status, closed.body], [204, '']);
    assert.equal((await on.call('GET', `/api/rooms/${roomId}`)).status, 404);
  },
  async '18'() {
    await pair();
    const list = await (await server()).done(200, 'GET', '/api/rooms');
    has(list, { totalRooms: isCount, totalPeers: isCount, rooms: Array.isArray, serverStats: { connections: isCount } });
    assert.ok(list.totalRooms >= 1 && list.totalPeers >= 2 && list.rooms.length === list.totalRooms);
  },
  '19': () => keptInRedis([], {}),
  '20': () => keptInRedis(['--requirepass', 'a password of these checks'], { REDIS_PASSWORD: 'a password of these checks' }),
  async '21'() {
    const STUN_URLS = 'stun:stun.one.example:19302,stun:stun.two.example:3478';
    const servers = await iceServers({ STUN_URLS });
    assert.deepEqual(servers.flatMap((it) => it.urls), STUN_URLS.split(','));
    // Without the variable it is that of the document.
    assert.deepEqual(await iceServers({}), [{ urls: ['stun:stun.l.google.com:19302'] }]);
  },
  async '22'() {
    const env = { TURN_URL: 'turn:turn.example.com:3478', TURN_USERNAME: 'user', TURN_CREDENTIAL: 'pass' };
    const [, turn] = await iceServers(env);
    assert.deepEqual(turn, { urls: [env.TURN_URL], username: 'user', credential: 'pass', credentialType: 'password' });
  },
  async '23'() {
    const CLIENT_URL = 'https://meet.example';
    await withServer('001', { env: { CLIENT_URL } }, async (on) => {
      assert.ok((await createRoom(on)).joinLink.startsWith(`${CLIENT_URL}/meeting/`));
      const allowed = await on.call('GET', '/api/rooms', { headers: { Origin: CLIENT_URL } });
      assert.equal(allowed.headers.get('access-control-allow-origin'), CLIENT_URL);
    });
  },
  async '24'() {
    const { roomId, one, two } = await pair();
    one.send('media-state-changed', { roomId, peerId: 'peer1', mediaState: { audio: false, video: false, screen: true } });
    await two.hear('media-state-changed');
    const three = await (await Raw.connect(await server())).join(roomId, 'peer3');
    has(three.peers.find((peer) => peer.peerId === 'peer1'), { mediaState: { audio: false, video: false, screen: true } });
  },
  async '25'() {
    // Several servers have no media server of their own; with a setting the mode of their rooms changes all the same.
    const settings = process.argv.includes('--redis') ? ['media.mode=auto', 'media.server=external'] : [];
    await withServer('001', { settings }, async (on) => {
      const { roomId, one, two } = await pair(on);
      has(await on.done(200, 'GET', `/api/rooms/${roomId}`), { connectionMode: 'p2p', participantCount: 2 });
      const callers = [];
      for (const peer of ['peer3', 'peer4']) {
        const caller = await Raw.connect(on);
        has(await caller.join(roomId, peer, { mediaState: MEDIA, sfu: 1 }), { connectionMode: 'p2p' });
        callers.push(caller);
      }
      const change = { roomId, connectionMode: 'sfu', previous: 'p2p', reason: 'participants' };
      for (const member of [one, two, ...callers]) await member.hear('connection-mode-changed', change);
      has(await on.done(200, 'GET', `/api/rooms/${roomId}`), { connectionMode: 'sfu', participantCount: 4 });
    });
  },
  async '26'() {
    const settings = ['heartbeat.interval_ms=300', 'heartbeat.timeout_ms=1000', 'presence.grace_ms=100'];
    await withServer('001', { settings }, async (on) => {
      const { roomId } = await createRoom(on);
      const one = await Raw.connect(on);
      await one.join(roomId, 'peer1');
      const dead = await Raw.connect(on, {}, { autoPong: false });
      await dead.join(roomId, 'dead');
      await one.hear('peer-left', { peerId: 'dead' });
      has(await on.done(200, 'GET', `/api/rooms/${roomId}`), { participantCount: 1 });
    });
  },
  async '27'() {
    await withServer('001', { settings: ['log.level=debug'] }, async (on) => {
      const { roomId, one } = await pair(on);
      one.send('offer', { roomId, toPeerId: 'nobody', offer: {} });
      has(await one.hear('error'), { error: isText, code: 'PEER_NOT_FOUND' });
      has(await Raw.refusal(`${on.ws}?token=bad`), { status: 401, body: { error: isText } });
      await on.logged(/not a well-formed JWT/);
    });
  },
  async '28'() {
    const on = await Server.start('001');
    const { one, two } = await pair(on);
    const end = on.stop('SIGTERM');
    for (const member of [one, two]) has(await member.closed, { code: (code) => [1001, 1012].includes(code) });
    assert.equal(await end, 0);
  },
  async '29'() {
    const { roomId, one } = await pair();
    for (let left = 300; left > 0; left -= 1) one.send('offer', { roomId, toPeerId: 'peer2', offer: {} });
    has(await one.hear('error'), { code: 'RATE_LIMITED', error: isText });
  },
  async '30'() {
    const one = await Raw.connect(await server());
    const wrong = [['{', 'BAD_JSON'], ['{"type":"dance"}', 'UNKNOWN_TYPE'], ['{"type":"join-room","roomId":7}', 'INVALID_MESSAGE'], ['[]', 'INVALID_MESSAGE']];
    for (const [text, code] of wrong) {
      one.socket.send(text);
      has(await one.hear('error'), { code, error: isText });
    }
    has((await (await server()).call('POST', '/api/rooms', { body: { maxParticipants: 'ten' } })), { status: 422, body: { code: 'INVALID_MESSAGE' } });
  },
  async '31'() {
    const on = await server();
    has(await Raw.refusal(on.ws, { origin: 'https://evil.example' }), { status: 403 });
    await Raw.connect(on, {}, { origin: CLIENT });
    const preflight = (Origin) => on.call('OPTIONS', '/api/rooms', { headers: { Origin, 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'content-type' } });
    assert.equal((await preflight(CLIENT)).headers.get('access-control-allow-origin'), CLIENT);
    assert.equal((await preflight('https://evil.example')).headers.get('access-control-allow-origin'), null);
  },
  async '32'() {
    const { roomId } = await createRoom(await server(), { hostPeerId: 'someone-else' });
    for (const peer of ['any', 'other']) has(await (await Raw.connect(await server())).join(roomId, peer), { peerId: peer });
  },
  async '33'() {
    const { roomId } = await createRoom(await server(), { maxParticipants: 2 });
    for (const peer of ['a', 'b']) await (await Raw.connect(await server())).join(roomId, peer);
    const third = await Raw.connect(await server());
    third.send('join-room', { roomId, peerId: 'c' });
    has(await third.hear('error'), { code: 'ROOM_FULL' });
  },
  async '34'() {
    await withServer('001', { env: { JWT_SECRET: SECRET } }, async (on) => {
      const claims = { name: 'Jane Smith' };
      const { roomId } = await createRoom(on);
      const guest = await Raw.connect(on);
      await guest.join(roomId, 'guest');
      const jane = await Raw.connect(on, { token: token('jane', claims) });
      await jane.join(roomId, 'jane');
      has(await guest.hear('peer-joined'), { userId: 'jane', displayName: 'Jane Smith' });
      has(await Raw.refusal(`${on.ws}?token=${token('jane', {}, 'another secret that is long enough, too')}`), { status: 401 });
      await until('the guest is listed', async () => (await on.done(200, 'GET', `/api/rooms/${roomId}`)).participantCount === 2);
    });
  },
});
