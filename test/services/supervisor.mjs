// Starts test services when a test first asks for them, gives each test file databases of its own, and ends everything with its standard input.

import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { dtm, ownDtm } from './dtm.mjs';
import { mariadb, mysqlServer, ownMariadb } from './mariadb.mjs';
import { mongodb, ownMongodb, standaloneMongodb } from './mongo.mjs';
import { ownPostgres, postgres } from './postgres.mjs';

/**
 * What can be asked for. Each has `url` (the environment variable that names a running server), `hint` (the line that would provide it),
 * `start(directory)` → a server with `createDatabase(name)` → URL, `dropDatabase(name)`, `stop()`, for some `restart()`, and `reopen` (how to look into a kept
 * directory), or undefined where it cannot be had, and `connect(url)` → the same for a running server. One that is `byUrlOnly` may be missing
 * in CI, too: its tests are then listed as not run. One that is `perTestFile` is started for each file that asks, and ends with it; `dtm-own`
 * has instead `startServer`, `killServer` and `restartServer`.
 */
const SERVICES = {
  postgres,
  'postgres-own': ownPostgres,
  mariadb,
  'mariadb-own': ownMariadb,
  mysql: mysqlServer,
  mongodb,
  'mongodb-standalone': standaloneMongodb,
  'mongodb-own': ownMongodb,
  dtm,
  'dtm-own': ownDtm,
};

const PREFIX = 'stepping-test-services-';

/** How long the databases of failed tests are kept. Unit: ms. */
const KEEP_MS = 24 * 3_600_000;

const directory = join(tmpdir(), `${PREFIX}${process.pid}-${randomBytes(3).toString('hex')}`);
const started = new Map();
const databases = [];
let ending;

sweep();
mkdirSync(directory);
chmodSync(directory, 0o755); // whatever the umask: servers run as another user
writeFileSync(join(directory, 'supervisor.pid'), String(process.pid));

const secret = randomBytes(12).toString('hex');
const actions = {
  service: useService,
  database: createDatabase,
  restart,
  'start-server': ofService('startServer'),
  'kill-server': ofService('killServer'),
  'restart-server': ofService('restartServer'),
  'file-done': fileDone,
};
const server = createServer(async (request, response) => {
  const [, given, action] = request.url.split('/');
  try {
    if (given !== secret || !Object.hasOwn(actions, action)) throw new Error(`Unknown action ${action}.`);
    let body = '';
    for await (const chunk of request) body += chunk;
    reply(response, 200, (await actions[action](JSON.parse(body))) ?? {});
  } catch (error) {
    reply(response, 500, { error: error.message });
  }
});
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}/${secret}`));

process.stdin.resume().on('end', end).on('error', end);
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, end);
process.stdout.on('error', () => {}); // the reader may be gone before us
process.stderr.on('error', () => {});

function reply(response, status, body) {
  response.writeHead(status, { 'content-type': 'application/json', connection: 'close' }).end(JSON.stringify(body));
}

async function useService({ name, testPath }) {
  const service = await open(name, testPath);
  if (service !== undefined) return { available: true };
  return { available: false, hint: SERVICES[name].hint, byUrlOnly: SERVICES[name].byUrlOnly };
}

async function createDatabase({ service: name, label, testPath }) {
  const service = await open(name, testPath);
  if (service === undefined) throw new Error(`${name} is not available. ${SERVICES[name].hint}`);
  const file = basename(testPath).replace(/\.ts$/, '');
  const database = `${slug(`${file}_${label ?? ''}`).slice(0, 48)}_${randomBytes(4).toString('hex')}`;
  const url = await service.createDatabase(database);
  databases.push({ service: name, database, url, testPath, kept: false });
  return { url };
}

/** Kills the server and starts it again on its port and its data. */
async function restart({ service: name, testPath }) {
  const service = await open(name, testPath);
  await service.restart();
}

/** A verb of a service that starts several servers for a test file. */
function ofService(verb) {
  return async ({ service: name, testPath, ...options }) => {
    const service = await open(name, testPath);
    if (service === undefined) throw new Error(`${name} is not available. ${SERVICES[name].hint}`);
    return service[verb](options);
  };
}

/** Drops the databases of a file whose tests passed; keeps those of the others for a look at them. */
async function fileDone({ testPath, failed }) {
  for (const entry of databases.filter((one) => one.testPath === testPath && !one.kept)) {
    if (failed) {
      entry.kept = true;
      continue;
    }
    databases.splice(databases.indexOf(entry), 1);
    const service = await open(entry.service, testPath);
    await service.dropDatabase(entry.database);
  }
  if (failed) return;
  for (const [key, opening] of started) {
    if (!key.endsWith(ofFile(testPath))) continue;
    started.delete(key);
    await (await opening)?.stop();
  }
}

function open(name, testPath) {
  if (ending !== undefined) throw new Error('The test run has ended.');
  if (!Object.hasOwn(SERVICES, name)) throw new Error(`There is no test service ${name}.`);
  const key = SERVICES[name].perTestFile ? `${name}${ofFile(testPath)}` : name;
  if (!started.has(key)) started.set(key, start(name, join(directory, key)));
  return started.get(key);
}

/** Ends the key, and is a folder of the directory, of what is started for a test file alone. */
function ofFile(testPath) {
  return `/${slug(testPath)}`;
}

async function start(name, folder) {
  mkdirSync(dirname(folder), { recursive: true });
  chmodSync(dirname(folder), 0o755); // as above
  const definition = SERVICES[name];
  const url = definition.url && process.env[definition.url];
  if (url) return definition.connect(url);
  const service = await definition.start(folder);
  if (service !== undefined) return service;
  if (process.env.CI === 'true' && !definition.byUrlOnly)
    throw new Error(`${name} is missing, and with CI=true nothing may be skipped. ${definition.hint}`);
  console.error(`\n*** ${name} is missing: its tests are ${definition.byUrlOnly ? 'NOT RUN' : 'SKIPPED'}. ${definition.hint}\n`);
  return undefined;
}

function end() {
  ending ??= (async () => {
    server.close();
    const services = (await Promise.allSettled([...started.entries()].map(async ([name, opening]) => [name, await opening])))
      .filter((one) => one.status === 'fulfilled' && one.value[1] !== undefined)
      .map((one) => one.value);
    const kept = databases.filter((one) => one.kept);
    await Promise.allSettled(services.map(([, service]) => service.stop()));
    for (const one of kept) console.error(`Kept for a look, since a test failed: ${one.url} (${one.testPath})`);
    for (const [name, service] of services) {
      if (kept.some((one) => name.split('/')[0] === one.service) && service.reopen) console.error(`Open it again with: ${service.reopen}`);
    }
    if (kept.some((one) => services.some(([name, service]) => name.split('/')[0] === one.service && service.reopen))) {
      writeFileSync(join(directory, 'kept'), '');
    } else {
      rmSync(directory, { recursive: true, force: true });
    }
    process.exit(0);
  })();
}

/** Ends what a supervisor left behind that was itself killed, and forgets what was kept long ago. */
function sweep() {
  for (const name of readdirSync(tmpdir()).filter((one) => one.startsWith(PREFIX))) {
    const old = join(tmpdir(), name);
    try {
      if (isRunning(Number(readFileSync(join(old, 'supervisor.pid'), 'utf8')))) continue;
      const keptAt = statSync(join(old, 'kept'), { throwIfNoEntry: false })?.mtimeMs;
      if (keptAt !== undefined && Date.now() - keptAt < KEEP_MS) continue;
      for (const definition of Object.values(SERVICES)) definition.endLeftover(join(old, definition.name));
      rmSync(old, { recursive: true, force: true });
    } catch {
      // Another run's, in the middle of being made or removed; or not ours to touch.
    }
  }
}

function isRunning(pid) {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return error.code === 'EPERM';
  }
}

function slug(text) {
  return text
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '_')
    .replace(/^_+|_+$/g, '');
}
