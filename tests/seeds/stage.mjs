// What the checks of all documents share: servers, clients that remember all they hear, comparisons, and the loop that runs a
// check for each number on standard input and answers with one line of JSON.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { createInterface } from 'node:readline';
import { io as io4 } from 'socket.io-client-4';
import WebSocket from 'ws';

export const io2 = createRequire(import.meta.url)('socket.io-client-2');

/** How long a check waits for what must come. */
const PATIENCE_MS = 20_000;
/** The secret of servers that verify signatures. */
export const SECRET = 'a secret that only these checks know, long enough';

const children = new Set();

function start(program, args, options) {
  const child = spawn(program, args, options);
  children.add(child);
  child.once('exit', () => children.delete(child));
  return child;
}

/** Waits until `isSo` gives a value, and gives it back. */
export async function until(what, isSo) {
  const end = Date.now() + PATIENCE_MS;
  for (;;) {
    const value = await isSo();
    if (value) return value;
    assert.ok(Date.now() < end, `${what}: not within ${PATIENCE_MS} ms`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** A server under one of the profiles, on a free port. */
export class Server {
  /** `settings` are those of `--set`; a setting beside the profile's is named by the check that needs it. */
  static async start(profile, { settings = [], env = {}, listen = '127.0.0.1:0', data = '' } = {}) {
    const server = new Server();
    const variables = { ...(env.REDIS_HOST ? {} : await server.startRedis()), ...env };
    const sets = settings.flatMap((setting) => ['--set', setting]);
    const args = ['serve', '--profile', profile, '--listen', listen, '--data', data, ...sets];
    server.lines = [];
    server.child = start(process.env.SWITCHBOARD, args, { env: variables, stdio: ['ignore', 'pipe', 'pipe'] });
    createInterface(server.child.stderr).on('line', (line) => server.lines.push(line));
    const first = await new Promise((resolve) => {
      createInterface(server.child.stdout).once('line', resolve);
      server.child.once('exit', () => resolve(''));
    });
    assert.match(first, /^listening on http:/, server.lines.join('\n'));
    server.host = first.replace('listening on http://', '');
    server.http = `http://${server.host}`;
    server.ws = `ws://${server.host}/ws`;
    return server;
  }

  /** Starts a Redis for this server, if servers are to have one; the variables that name it. */
  async startRedis() {
    if (!process.argv.includes('--redis')) return {};
    const { port, redis } = await startRedis();
    this.redis = redis;
    return { REDIS_HOST: '127.0.0.1', REDIS_PORT: String(port) };
  }

  /** Waits for a line of the log. */
  logged(pattern) {
    return until(`the log has ${pattern}`, () => this.lines.find((line) => pattern.test(line)));
  }

  /** A REST call: status, headers and body, which is JSON unless it is something else. */
  async call(method, path, { token, body, headers = {} } = {}) {
    const authorization = token ? { Authorization: `Bearer ${token}` } : {};
    const type = body === undefined ? {} : { 'Content-Type': 'application/json' };
    const response = await fetch(this.http + path, { method, body: body && JSON.stringify(body), headers: { ...authorization, ...type, ...headers } });
    const text = await response.text();
    const isJson = response.headers.get('content-type')?.startsWith('application/json');
    return { status: response.status, headers: response.headers, body: isJson ? JSON.parse(text) : text };
  }

  /** The body of a call that is answered with this status. */
  async done(status, method, path, options) {
    const answer = await this.call(method, path, options);
    assert.equal(answer.status, status, `${method} ${path}: ${JSON.stringify(answer.body)}`);
    return answer.body;
  }

  async stop(signal = 'SIGKILL') {
    const exit = once(this.child, 'exit');
    this.child.kill(signal);
    const [code] = await exit;
    this.redis?.kill('SIGKILL');
    return code;
  }
}

/** The addresses that a profile listens on unless told otherwise. */
export async function listeners(profile) {
  const config = start(process.env.SWITCHBOARD, ['config', '--profile', profile], { env: {}, stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  for await (const part of config.stdout) text += part;
  return JSON.parse(/^listen = (\[.*\])/m.exec(text)[1]);
}

/** A server that begins with the first check that needs it, and is the same for all others. */
export function shared(profile, options) {
  let server;
  return () => (server ??= Server.start(profile, options));
}

/** The result of a check on a server of its own. */
export async function withServer(profile, options, check) {
  const server = await Server.start(profile, options);
  try {
    return await check(server);
  } finally {
    await server.stop();
  }
}

export async function freePort() {
  const listener = createServer().listen(0, '127.0.0.1');
  await once(listener, 'listening');
  const { port } = listener.address();
  listener.close();
  return port;
}

/** Starts a Redis on a free port, and waits until it is ready. */
async function startRedis(args = []) {
  const port = await freePort();
  const program = process.env.SWITCHBOARD_REDIS_SERVER || 'redis-server';
  const options = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', ...args];
  const redis = start(program, options, { stdio: ['ignore', 'pipe', 'ignore'] });
  await new Promise((resolve, reject) => {
    createInterface(redis.stdout).on('line', (line) => line.includes('Ready to accept') && resolve());
    redis.once('exit', () => reject(new Error('no Redis')));
  });
  return { port, redis };
}

/** The result of a check with a Redis of its own, given its port. */
export async function withRedis(args, check) {
  const { port, redis } = await startRedis(args);
  try {
    return await check(port, redis);
  } finally {
    redis.kill('SIGKILL');
  }
}

const word = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

/** A token of these claims, valid for an hour unless they say otherwise. */
export function token(sub, claims = {}, secret = SECRET) {
  const now = Math.floor(Date.now() / 1000);
  const text = `${word({ alg: 'HS256', typ: 'JWT' })}.${word({ sub, iat: now, exp: now + 3600, ...claims })}`;
  return `${text}.${createHmac('sha256', secret).update(text).digest('base64url')}`;
}

let names = 0;
/** A name that no other check uses. */
export const fresh = (name) => `${name}-${++names}`;

/** Whether a value is a date as `Date.toJSON` writes it. */
export const isDate = (value) => typeof value === 'string' && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/.test(value);
export const isText = (value) => typeof value === 'string' && value !== '';
export const isCount = (value) => Number.isInteger(value) && value >= 0;
/** Whether a value is a time of the last minute, in milliseconds. */
export const isNow = (value) => Math.abs(Date.now() - value) < 60_000;

/** Where `actual` differs from `expected`: objects may have more fields, functions decide. */
function difference(actual, expected, path = '') {
  if (typeof expected === 'function') return expected(actual) ? null : `${path || 'value'} is ${JSON.stringify(actual)}, not ${expected.name}`;
  if (expected === null || typeof expected !== 'object') return actual === expected ? null : `${path || 'value'} is ${JSON.stringify(actual)}, not ${JSON.stringify(expected)}`;
  if (actual === null || typeof actual !== 'object') return `${path || 'value'} is ${JSON.stringify(actual)}`;
  if (Array.isArray(expected) && actual.length !== expected.length) return `${path || 'value'} has ${actual.length} entries: ${JSON.stringify(actual)}`;
  for (const key of Object.keys(expected)) {
    const found = difference(actual[key], expected[key], `${path}.${key}`);
    if (found) return found;
  }
  return null;
}

/** Asserts that a value has these fields; it may have more. */
export function has(actual, expected) {
  const found = difference(actual, expected);
  assert.equal(found, null, `${found} in ${JSON.stringify(actual)}`);
  return actual;
}

/** What a client has heard and no check has asked for yet. */
class Heard {
  entries = [];

  add(name, value) {
    this.entries.push({ name, value });
  }

  take(name, where) {
    const isIt = (entry) => entry.name === name && (where === undefined || !difference(entry.value, where));
    const at = this.entries.findIndex(isIt);
    return at < 0 ? null : { value: this.entries.splice(at, 1)[0].value };
  }

  async next(name, where) {
    try {
      return (await until(name, () => this.take(name, where))).value;
    } catch {
      throw new Error(`no ${name} ${JSON.stringify(where) ?? ''} among ${JSON.stringify(this.entries)}`);
    }
  }
}

/** A client of `/ws`. */
export class Raw {
  heard = new Heard();

  constructor(url, options) {
    this.socket = new WebSocket(url, options);
    this.socket.on('message', (data) => {
      const message = JSON.parse(data);
      this.heard.add(message.type, message);
    });
    this.pings = 0;
    this.socket.on('ping', () => (this.pings += 1));
    this.closed = new Promise((resolve) => this.socket.once('close', (code, reason) => resolve({ code, reason: String(reason) })));
  }

  static async connect(server, query = {}, options = {}) {
    const raw = new Raw(`${server.ws}?${new URLSearchParams(query)}`, options);
    await once(raw.socket, 'open');
    return raw;
  }

  /** The status with which a handshake is refused, and its body. */
  static refusal(url, options) {
    const socket = new WebSocket(url, options);
    return new Promise((resolve, reject) => {
      socket.once('open', () => reject(new Error('the handshake is accepted')));
      socket.once('error', reject);
      socket.once('unexpected-response', async (_, response) => {
        let text = '';
        for await (const part of response) text += part;
        resolve({ status: response.statusCode, body: text.startsWith('{') ? JSON.parse(text) : text });
      });
    });
  }

  send(type, fields = {}) {
    this.socket.send(JSON.stringify({ type, ...fields, timestamp: Date.now() }));
  }

  hear(type, where) {
    return this.heard.next(type, where);
  }

  /** Asserts that none has come before the answer to a ping. */
  async hearsNo(type, where) {
    this.send('ping');
    await this.hear('pong');
    assert.equal(this.heard.take(type, where), null, `a ${type} has come`);
  }

  async join(roomId, peerId, fields = {}) {
    this.send('join-room', { roomId, peerId, ...fields });
    return this.hear('room-joined', { roomId });
  }

  close() {
    this.socket.close();
    return this.closed;
  }
}

/** A client of Socket.IO, of version 4 or with `{ io: io2 }` of version 2. */
export class Sio {
  heard = new Heard();

  constructor(url, { io = io4, ...options } = {}) {
    this.socket = io(url, { forceNew: true, reconnection: false, ...options });
    // Both versions hand each event of the server to this method.
    const { onevent } = this.socket;
    this.socket.onevent = (packet) => {
      const [name, ...values] = packet.data;
      this.heard.add(name, values[0]);
      onevent.call(this.socket, packet);
    };
    for (const name of ['connect', 'disconnect', 'connect_error', 'error', 'reconnect']) {
      this.socket.on(name, (value) => this.heard.add(`client ${name}`, value));
    }
  }

  static async connect(url, options) {
    const sio = new Sio(url, options);
    await sio.hear('client connect');
    return sio;
  }

  /** The error with which a connection is refused. */
  static async refusal(url, options) {
    const sio = new Sio(url, options);
    // Version 2 has `error` for what version 4 calls `connect_error`.
    const error = await until('a refusal', () => sio.heard.take('client connect_error') ?? sio.heard.take('client error'));
    sio.close();
    return error.value;
  }

  emit(...args) {
    this.socket.emit(...args);
  }

  /** The ack of an event. */
  ask(...args) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`no ack of ${args[0]}`)), PATIENCE_MS);
      this.socket.emit(...args, (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
    });
  }

  hear(name, where) {
    return this.heard.next(name, where);
  }

  close() {
    this.socket.disconnect();
  }
}

/** Runs the checks that standard input names, one after the other, until it ends; `checks` only lists them. */
export async function run(checks) {
  for await (const number of createInterface(process.stdin)) {
    let error = null;
    try {
      if (number !== 'checks') await checks[number]();
    } catch (thrown) {
      error = thrown.stack ?? String(thrown);
    }
    console.log(JSON.stringify({ error, checks: Object.keys(checks) }));
  }
  for (const child of children) child.kill('SIGKILL');
  process.exit(0);
}
