import { execFileSync } from 'node:child_process';
import { existsSync, globSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import mongoose from 'mongoose';
import { endServerOf, foldersIn, freePort, isExecutable, onPath, startServer, untilItAnswers } from './local-server.mjs';

const { MongoClient } = mongoose.mongo;

/** Stands in where there is no mongod: a MongoDB-compatible server from PyPI. Where the two differ our code follows MongoDB's manual, and the test says so. */
const SECANTUS = 'SecantusDB==0.7.0b3';

const HINT =
  'Set STEPPING_TEST_MONGODB_URL=mongodb://host:port/?replicaSet=name, or put mongod on the PATH, or a python3 (3.11 or newer, with venv) that may install from PyPI.';

/** A replica set of one node. */
export const mongodb = {
  name: 'mongodb',
  url: 'STEPPING_TEST_MONGODB_URL',
  hint: HINT,
  connect,
  start: (directory) => start(directory),
  endLeftover,
};

/** The same server outside any replica set, which has no transactions. */
export const standaloneMongodb = {
  name: 'mongodb-standalone',
  url: 'STEPPING_TEST_MONGODB_STANDALONE_URL',
  hint: HINT,
  connect,
  start: (directory) => start(directory, { standalone: true }),
  endLeftover,
};

/** A server for each test file that asks for one, so that it may be killed or made to fail: never given by a URL. */
export const ownMongodb = {
  name: 'mongodb-own',
  hint: HINT,
  perTestFile: true,
  start: (directory) => start(directory),
  endLeftover(directory) {
    for (const one of foldersIn(directory)) endLeftover(one);
  },
};

/** A server that runs already; we only make databases in it. */
async function connect(url) {
  await ask(url, (client) => client.db('admin').command({ ping: 1 }));
  return { ...databasesAt(url), stop: async () => {} };
}

async function start(directory, { standalone = false } = {}) {
  const find = downloadedOrOnPath();
  const python = find === undefined ? secantus() : undefined;
  if (find === undefined && python === undefined) return undefined;

  const data = join(directory, 'data');
  mkdirSync(data, { recursive: true, mode: 0o700 });
  const port = await freePort();
  const logFile = join(directory, 'mongodb.log');
  const [command, args] = find === undefined ? secantusOn(python, { port, data, standalone }) : mongodOn(find, { port, data, standalone });
  const direct = `mongodb://127.0.0.1:${port}/?directConnection=true`;
  const url = standalone
    ? `mongodb://127.0.0.1:${port}/`
    : `mongodb://127.0.0.1:${port}/?replicaSet=${find === undefined ? 'secantus' : 'rs0'}`;
  let running;

  const run = async () => {
    running = startServer(command, args, { cwd: data, logFile });
    writeFileSync(join(directory, 'mongodb.pid'), String(running.child.pid));
    await untilItAnswers('MongoDB', () => ask(direct, (client) => client.db('admin').command({ ping: 1 })), { ...running, logFile });
  };
  const stop = async () => {
    running.child.kill('SIGTERM');
    await Promise.race([running.ended, sleep(10_000)]);
    running.child.kill('SIGKILL');
  };
  const restart = async () => {
    running.child.kill('SIGKILL');
    await running.ended;
    await run();
    await untilWritable(url, logFile, running);
  };
  try {
    await run();
    if (find !== undefined && !standalone) {
      const members = [{ _id: 0, host: `127.0.0.1:${port}` }];
      await ask(direct, (client) => client.db('admin').command({ replSetInitiate: { _id: 'rs0', members } }));
    }
    await untilWritable(url, logFile, running);
  } catch (error) {
    await stop();
    throw error;
  }
  return { ...databasesAt(url), stop, restart, reopen: [command, ...args].map((arg) => (/[\s;]/.test(arg) ? `'${arg}'` : arg)).join(' ') };
}

/** Its first election takes a moment, also after a restart. */
async function untilWritable(url, logFile, { ended }) {
  const writable = async (client) => {
    const hello = await client.db('admin').command({ hello: 1 });
    if (!hello.isWritablePrimary) throw new Error('It has no primary yet.');
  };
  await untilItAnswers('MongoDB', () => ask(url, writable), { ended, logFile });
}

/** `enableTestCommands` is for fail points: connections that are cut at a commit. */
function mongodOn(mongod, { port, data, standalone }) {
  const args = ['--dbpath', data, '--port', String(port), '--bind_ip', '127.0.0.1', '--setParameter', 'enableTestCommands=1'];
  return [mongod, standalone ? args : [...args, '--replSet', 'rs0']];
}

/** With an fsync at every commit, as a majority write has it on MongoDB: what a test says about crashes and about speed is only true with it. */
function secantusOn(python, { port, data, standalone }) {
  const args = [
    '--host',
    '127.0.0.1',
    '--port',
    String(port),
    '--storage-path',
    data,
    '--enable-test-commands',
    '--sync-on-commit',
    '--log-level',
    'WARNING',
  ];
  return [python, ['-c', 'import sys; from secantus.cli import main; sys.exit(main())', ...args, ...(standalone ? ['--standalone'] : [])]];
}

/** Of the system, or the newest that the npm package mongodb-memory-server downloaded. */
function downloadedOrOnPath() {
  const found = onPath('mongod');
  if (found !== undefined) return found;
  const folders = [
    join(homedir(), '.cache/mongodb-binaries'),
    join(import.meta.dirname, '../../node_modules/.cache/mongodb-memory-server'),
  ];
  const version = (path) => (/(\d+)\.(\d+)\.(\d+)$/.exec(path) ?? []).slice(1).reduce((sum, part) => sum * 1_000 + Number(part), 0);
  return folders
    .flatMap((folder) => globSync(join(folder, 'mongod*')))
    .filter(isExecutable)
    .sort((one, other) => version(other) - version(one))[0];
}

/** The python of a virtual environment with SecantusDB in it, made on first use. */
function secantus() {
  const cache = join(import.meta.dirname, '../../node_modules/.cache/stepping');
  const home = join(cache, SECANTUS.replace('==', '-'));
  const python = join(home, 'bin/python');
  if (existsSync(python)) return python;
  const made = `${home}.${process.pid}`;
  const options = { stdio: ['ignore', 'ignore', 'inherit'] };
  try {
    mkdirSync(cache, { recursive: true });
    execFileSync('python3', ['-m', 'venv', made], options);
    execFileSync(join(made, 'bin/python'), ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', SECANTUS], options);
    renameSync(made, home); // several runs may make it at once; `python` finds its packages wherever the folder is
  } catch (error) {
    rmSync(made, { recursive: true, force: true });
    if (!existsSync(python)) {
      console.error(`SecantusDB could not be installed: ${error.message}`);
      return undefined;
    }
  }
  return python;
}

function databasesAt(url) {
  const of = (name) => urlOf(url, name);
  return {
    // A database is there with its first collection.
    async createDatabase(name) {
      return of(name);
    },
    async dropDatabase(name) {
      await ask(of(name), (client) => client.db().dropDatabase());
    },
  };
}

/** `url` names several hosts, so it is none for the class URL. Users stay those of the database that it named. */
function urlOf(url, database) {
  const [, hosts, named, query = ''] = /^(mongodb(?:\+srv)?:\/\/[^/?]+)(?:\/([^?]*))?(?:\?(.*))?$/.exec(url) ?? [];
  if (hosts === undefined) throw new Error(`Not a URL of MongoDB: ${url}`);
  const options = new URLSearchParams(query);
  if (hosts.includes('@') && !options.has('authSource')) options.set('authSource', named || 'admin');
  return `${hosts}/${database}?${options}`;
}

async function ask(url, question) {
  const client = new MongoClient(url, { serverSelectionTimeoutMS: 5_000, connectTimeoutMS: 5_000 });
  try {
    return await question(client);
  } finally {
    await client.close();
  }
}

function endLeftover(directory) {
  endServerOf(join(directory, 'data'), join(directory, 'mongodb.pid'), 'SIGKILL');
}
