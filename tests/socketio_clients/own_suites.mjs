// Runs the clients' own test suites against a build of this server. They are not in the packages of npm, so they come from a
// checkout of the repository github.com/socketio/socket.io:
//
//   git clone --branch socket.io@4.8.3 https://github.com/socketio/socket.io CHECKOUT
//   cd CHECKOUT/packages && npm install mocha@10 tsx expect.js @sinonjs/fake-timers has-cors text-blob-builder \
//     base64-arraybuffer blob socket.io-client@4.8.3 engine.io-client@6.6.8
//   cp -r node_modules/socket.io-client/build socket.io-client/ && cp -r node_modules/engine.io-client/build engine.io-client/
//   SWITCHBOARD_CLIENT_SUITES=CHECKOUT node tests/socketio_clients/own_suites.mjs target/release/switchboard
//
// It needs the ports 3000 and 3210, which the suites are written for. Exits with 1 if a test fails that is not named below.

import { spawn, spawnSync } from 'node:child_process';
import { join } from 'node:path';

const SUITES = [
  {
    package: 'socket.io-client', listen: 'localhost:3210', file: 'test/index.ts', passing: 109,
    // A session belongs to a user, and the peers of suites have none. Recovery is tested with tokens, in recovery.mjs.
    failing: ['connection state recovery should have an accessible socket id equal to the server-side socket id (default namespace)'],
  },
  {
    package: 'engine.io-client', listen: 'localhost:3000', file: 'test/index.js', passing: 81,
    // The server sets no cookies.
    failing: ['node.js should send cookies with withCredentials: true'],
  },
];

const root = process.env.SWITCHBOARD_CLIENT_SUITES;
const [, , binary] = process.argv;
if (!root || !binary) {
  console.error('usage: SWITCHBOARD_CLIENT_SUITES=CHECKOUT node own_suites.mjs BINARY');
  process.exit(2);
}

let isGood = true;
for (const suite of SUITES) {
  const server = spawn(binary, ['serve', `--conformance=${suite.package.replace('.', '')}`, '--listen', suite.listen], { env: {}, stdio: ['ignore', 'pipe', 'inherit'] });
  await new Promise((resolve) => server.stdout.once('data', resolve));
  const packages = join(root, 'packages');
  const mocha = [join(packages, 'node_modules/.bin/mocha'), '--import=tsx', '--reporter', 'json', '--exit', suite.file];
  const run = spawnSync(process.execPath, mocha, { cwd: join(packages, suite.package), encoding: 'utf8', maxBuffer: 1 << 28 });
  server.kill();
  const { stats, failures } = JSON.parse(run.stdout.slice(run.stdout.indexOf('{\n')));
  const unexpected = failures.map((it) => it.fullTitle).filter((title) => !suite.failing.includes(title));
  console.log(`${suite.package}: ${stats.passes} of ${stats.tests} pass; not: ${failures.map((it) => it.fullTitle).join('; ')}`);
  isGood &&= unexpected.length === 0 && stats.passes >= suite.passing;
}
process.exit(isGood ? 0 : 1);
