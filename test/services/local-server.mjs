import { execFileSync, spawn } from 'node:child_process';
import { accessSync, constants, cpSync, existsSync, mkdirSync, openSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

/** How long a server may take to answer its first query. Unit: ms. */
const START_TIMEOUT_MS = 60_000;

/** A port nobody listens on now. */
export async function freePort() {
  const probe = createServer();
  await new Promise((resolve, reject) => probe.once('error', reject).listen(0, '127.0.0.1', resolve));
  const { port } = probe.address();
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/** The first file of this name on the PATH that can be executed. */
export function onPath(name) {
  return (process.env.PATH ?? '')
    .split(delimiter)
    .filter((folder) => folder !== '')
    .map((folder) => join(folder, name))
    .find(isExecutable);
}

export function isExecutable(path) {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch {
    return false;
  }
}

/** Database servers refuse to run as root: the user to run them as instead, or nothing when we are an ordinary user. */
export function serverUser(...names) {
  if (process.getuid?.() !== 0) return {};
  for (const name of [...names, 'nobody']) {
    try {
      const id = (flag) => Number(execFileSync('id', [flag, name], { stdio: ['ignore', 'pipe', 'ignore'], encoding: 'utf8' }));
      return { uid: id('-u'), gid: id('-g') };
    } catch {
      // no such user here
    }
  }
  throw new Error(`Found no user to run a database server as: tried ${[...names, 'nobody'].join(', ')}.`);
}

/** `folder`, or a copy of it in `copy` where a folder above it is closed to the server's user. */
export function reachable(folder, copy, { uid } = {}) {
  if (uid === undefined) return folder;
  for (let one = folder; one !== dirname(one); one = dirname(one)) {
    if ((statSync(one).mode & 0o001) !== 0) continue;
    mkdirSync(dirname(copy), { recursive: true });
    cpSync(folder, copy, { recursive: true, verbatimSymlinks: true });
    return copy;
  }
  return folder;
}

/** A server process whose output goes to a file; `ended` settles when it exits. */
export function startServer(command, args, { logFile, ...options }) {
  const log = openSync(logFile, 'a');
  const child = spawn(command, args, { ...options, stdio: ['ignore', log, log], detached: true });
  const ended = new Promise((resolve) => child.once('exit', resolve).once('error', resolve));
  return { child, ended };
}

/** Waits for the first answer; rejects with the end of its log when the server ends instead. */
export async function untilItAnswers(name, ask, { ended, logFile }) {
  const deadline = Date.now() + START_TIMEOUT_MS;
  let exited = false;
  ended.then(() => {
    exited = true;
  });
  for (;;) {
    try {
      await ask();
      return;
    } catch (error) {
      if (!exited && Date.now() < deadline) await sleep(50);
      else throw new Error(`${name} did not start: ${error.message}\n${readFileSync(logFile, 'utf8').slice(-2_000)}`);
    }
  }
}

/** Of services that are started for each test file, each has a folder in that of the service. */
export function foldersIn(directory) {
  return existsSync(directory) ? readdirSync(directory).map((name) => join(directory, name)) : [];
}

/** Ends the server of a supervisor that was killed before it could. */
export function endServerOf(data, pidFile, signal) {
  if (!existsSync(pidFile)) return;
  const pid = Number(readFileSync(pidFile, 'utf8').split('\n', 1)[0]);
  if (!commandOf(pid).includes(data)) return; // the number belongs to somebody else by now
  process.kill(pid, signal);
  const deadline = Date.now() + 5_000;
  while (commandOf(pid).includes(data) && Date.now() < deadline) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
}

function commandOf(pid) {
  try {
    return execFileSync('ps', ['-p', String(pid), '-o', 'args='], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return '';
  }
}
