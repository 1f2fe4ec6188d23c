import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { endServerOf, foldersIn, freePort, isExecutable, onPath, startServer, untilItAnswers } from './local-server.mjs';

const HINT =
  'Put dtm on the PATH, or go (1.18 or newer, https://go.dev/dl) that may download modules: the tests then build the server, once, in about three minutes.';

/** What the tests build: a Go module of its own, so that its sums say what it is made of. */
const MODULE = join(import.meta.dirname, 'dtm');

/** One server for all test files that ask. It has no databases: gids are unique, and a test reads only its own. */
export const dtm = {
  name: 'dtm',
  url: 'STEPPING_TEST_DTM_URL',
  hint: `Set STEPPING_TEST_DTM_URL=http://host:port, of a server that reaches this machine as 127.0.0.1. ${HINT}`,
  connect,
  start,
  endLeftover,
};

/** Servers of a test file's own, as many as it starts, so that they may be killed: never given by a URL. */
export const ownDtm = {
  name: 'dtm-own',
  hint: HINT,
  perTestFile: true,
  start: startOwn,
  endLeftover(directory) {
    for (const file of foldersIn(directory)) for (const one of foldersIn(file)) endLeftover(one);
  },
};

/** A server that runs already. */
async function connect(url) {
  await versionOf(url);
  return { ...withoutDatabases(url), stop: async () => {} };
}

async function start(directory) {
  const binary = await find();
  if (binary === undefined) return undefined;
  const server = await startOne(binary, directory);
  return { ...withoutDatabases(server.url), stop: server.kill };
}

async function startOwn(directory) {
  const binary = await find();
  if (binary === undefined) return undefined;
  const servers = [];
  return {
    async startServer(options) {
      const number = servers.length;
      const starting = startOne(binary, join(directory, String(number)), options);
      servers.push(starting);
      const { url, version, data } = await starting;
      return { number, url, version, directory: data };
    },
    killServer: async ({ number }) => (await servers[number]).kill(),
    restartServer: async ({ number }) => (await servers[number]).restart(),
    async stop() {
      for (const one of await Promise.allSettled(servers)) await one.value?.kill();
    },
  };
}

let printed = false;

async function startOne(binary, folder, { directory: data = join(folder, 'data'), env = {} } = {}) {
  mkdirSync(folder, { recursive: true });
  mkdirSync(data, { recursive: true });
  const [http, grpc] = await Promise.all([freePort(), freePort()]);
  const url = `http://127.0.0.1:${http}`;
  const logFile = join(folder, 'dtm.log');
  // Not what this machine's environment says: each setting of the server can be given by a variable.
  const { PATH, HOME = folder } = process.env;
  const options = {
    cwd: data,
    logFile,
    argv0: nameOf(folder), // it takes no argument, so a leftover is known by its name
    env: { PATH, HOME, TRANS_CRON_INTERVAL: '1', HTTP_PORT: String(http), GRPC_PORT: String(grpc), ...env },
  };
  let running;
  let version;

  const run = async () => {
    running = startServer(binary, [], options);
    writeFileSync(join(folder, 'dtm.pid'), String(running.child.pid));
    try {
      await untilItAnswers(
        'DTM',
        async () => {
          version = await versionOf(url);
        },
        { ...running, logFile },
      );
    } catch (error) {
      await kill();
      throw error;
    }
  };
  const kill = async () => {
    running.child.kill('SIGKILL');
    await running.ended;
  };
  await run();
  if (!printed) console.error(`DTM ${version} with boltdb, from ${binary}`);
  printed = true;
  return {
    url,
    version,
    data,
    kill,
    async restart() {
      await kill();
      await run();
    },
  };
}

let found;

/** Of the system, or built from the module beside this file. */
function find() {
  found ??= Promise.resolve(onPath('dtm')).then((binary) => binary ?? build());
  return found;
}

/** Kept by the content of what it is built from. Not with the others' `execFileSync`: it takes minutes, in which other test files want their services. */
async function build() {
  const go = onPath('go') ?? ['/usr/local/go/bin/go', '/usr/lib/go/bin/go'].find(isExecutable);
  const [mod, sum] = ['go.mod', 'go.sum'].map((name) => readFileSync(join(MODULE, name), 'utf8'));
  const [, version] = /github\.com\/dtm-labs\/dtm (v\S+)/.exec(mod);
  const args = ['build', '-mod=readonly', '-trimpath', '-ldflags', `-s -w -X main.Version=${version}`];
  const content = createHash('sha256')
    .update(JSON.stringify([mod, sum, args, process.platform, process.arch]))
    .digest('hex');
  const cache = join(import.meta.dirname, '../../node_modules/.cache/stepping');
  const binary = join(cache, `dtm-${version}-${content.slice(0, 12)}`);
  if (existsSync(binary)) return binary;
  if (go === undefined) return undefined;

  console.error(`Building DTM ${version}: once, in about three minutes.`);
  const made = `${binary}.${process.pid}`;
  try {
    mkdirSync(cache, { recursive: true });
    await promisify(execFile)(go, [...args, '-o', made, 'github.com/dtm-labs/dtm'], { cwd: MODULE, maxBuffer: 1 << 28 });
    renameSync(made, binary); // several runs may build it at once
  } catch (error) {
    rmSync(made, { force: true });
    console.error(`DTM could not be built: ${error.stderr || error.message}`);
    return undefined;
  }
  return binary;
}

async function versionOf(url) {
  const response = await fetch(`${url}/api/dtmsvr/version`, { signal: AbortSignal.timeout(5_000) });
  if (!response.ok) throw new Error(`It answered ${response.status}.`);
  return (await response.json()).version;
}

function withoutDatabases(url) {
  return { createDatabase: async () => url, dropDatabase: async () => {} };
}

function nameOf(folder) {
  return `dtm@${folder}`;
}

function endLeftover(folder) {
  endServerOf(nameOf(folder), join(folder, 'dtm.pid'), 'SIGKILL');
}
