import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import mysql from 'mysql2/promise';
import { endServerOf, foldersIn, freePort, isExecutable, onPath, serverUser, startServer, untilItAnswers } from './local-server.mjs';

export const mariadb = {
  name: 'mariadb',
  url: 'STEPPING_TEST_MARIADB_URL',
  hint: 'Set STEPPING_TEST_MARIADB_URL=mysql://user:password@host:port/, or put mariadbd and mariadb-install-db on the PATH (apt-get install mariadb-server).',
  connect,
  start,
  endLeftover,
};

/** A server for each test file that asks for one, so that it may be killed: never given by a URL. */
export const ownMariadb = {
  name: 'mariadb-own',
  hint: 'Put mariadbd and mariadb-install-db on the PATH (apt-get install mariadb-server).',
  perTestFile: true,
  start,
  endLeftover(directory) {
    for (const one of foldersIn(directory)) endLeftover(one);
  },
};

/** By URL alone: there is no MySQL that could be fetched without root, and none beside a MariaDB of the same distribution. */
export const mysqlServer = {
  name: 'mysql',
  url: 'STEPPING_TEST_MYSQL_URL',
  hint: 'Set STEPPING_TEST_MYSQL_URL=mysql://user:password@host:port/.',
  byUrlOnly: true,
  connect,
  start: async () => undefined,
  endLeftover() {},
};

/** A server that runs already; we only make databases in it. */
async function connect(url) {
  await query(url, 'select 1');
  return { ...databasesAt(url), stop: async () => {} };
}

async function start(directory) {
  const [server, install] = [systemProgram('mariadbd'), systemProgram('mariadb-install-db')];
  if (server === undefined || install === undefined) return undefined;

  const user = serverUser('mysql');
  const data = join(directory, 'data');
  mkdirSync(directory, { recursive: true });
  chmodSync(directory, 0o755); // whatever the umask: the server's user must get through
  // Not /tmp: another server that starts removes what it takes for its own temporary tables.
  const temporary = join(directory, 'tmp');
  for (const folder of [data, temporary]) {
    mkdirSync(folder, { mode: 0o700 });
    if (user.uid !== undefined) chownSync(folder, user.uid, user.gid);
  }
  const options = { ...user, cwd: data };
  const layout = [
    '--no-defaults',
    `--datadir=${data}`,
    `--tmpdir=${temporary}`,
    '--auth-root-authentication-method=normal',
    '--skip-test-db',
    '--skip-name-resolve',
  ];
  execFileSync(install, layout, { ...options, stdio: ['ignore', 'ignore', 'inherit'] });

  const port = await freePort();
  const logFile = join(directory, 'mariadb.log');
  // Durability stays on, as the server has it by itself: what a test says about crashes and about speed is only true with it.
  const args = [
    '--no-defaults',
    `--datadir=${data}`,
    `--tmpdir=${temporary}`,
    '--socket=s.sock', // in the data directory, whose path may be longer than that of a socket
    `--pid-file=${join(data, 'mariadb.pid')}`,
    '--bind-address=127.0.0.1',
    `--port=${port}`,
    '--max-connections=400',
    '--skip-name-resolve',
  ];
  const url = `mysql://root@127.0.0.1:${port}/`;
  let running;
  const run = async () => {
    running = startServer(server, args, { ...options, logFile });
    await untilItAnswers('MariaDB', () => query(url, 'select 1'), { ...running, logFile });
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
  };
  try {
    await run();
  } catch (error) {
    await stop();
    throw error;
  }
  const asUser = user.uid === undefined ? '' : `setpriv --reuid ${user.uid} --regid ${user.gid} --clear-groups `;
  return { ...databasesAt(url), stop, restart, reopen: `${asUser}${[server, ...args].join(' ')}` };
}

/** Debian puts servers where the PATH of an ordinary user does not lead. */
function systemProgram(name) {
  return onPath(name) ?? ['/usr/sbin', '/usr/local/sbin'].map((folder) => join(folder, name)).find(isExecutable);
}

function databasesAt(url) {
  return {
    async createDatabase(name) {
      await query(url, `create database \`${name}\` character set utf8mb4`);
      return Object.assign(new URL(url), { pathname: `/${name}` }).href;
    },
    async dropDatabase(name) {
      await query(url, `drop database if exists \`${name}\``);
    },
  };
}

async function query(uri, sql) {
  const connection = await mysql.createConnection({ uri, connectTimeout: 5_000 });
  try {
    return await connection.query(sql);
  } finally {
    connection.destroy();
  }
}

function endLeftover(directory) {
  const data = join(directory, 'data');
  endServerOf(data, join(data, 'mariadb.pid'), 'SIGKILL');
}
