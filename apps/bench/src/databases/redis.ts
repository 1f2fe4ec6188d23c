import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Databases } from './databases.js';

/** How long it may take to answer. Unit: ms. */
const START_TIMEOUT_MS = 10_000;

/** `redis-server` of the PATH, for BullMQ; undefined, and said loudly, where there is none. */
export async function redisDatabases(): Promise<Databases | undefined> {
  const directory = mkdtempSync(join(tmpdir(), 'stepping-bench-redis-'));
  const port = await freePort();
  const server = spawn('redis-server', ['--bind', '127.0.0.1', '--port', String(port), '--dir', directory, '--save', ''], {
    stdio: 'ignore',
  });
  const end = () => {
    server.kill('SIGKILL');
    rmSync(directory, { recursive: true, force: true });
  };
  process.once('exit', end);
  const stop = async () => {
    process.off('exit', end);
    end();
  };
  let failed = false;
  server.once('error', () => {
    failed = true;
  });
  const deadline = performance.now() + START_TIMEOUT_MS;
  let info: string | undefined;
  while (!failed && info === undefined && performance.now() < deadline) {
    info = await ask(port, 'INFO server').catch(() => undefined);
    if (info === undefined) await sleep(20);
  }
  if (info === undefined) {
    console.error('*** redis is missing: its measurements are SKIPPED. Put redis-server on the PATH (apt-get install redis-server).');
    await stop();
    return undefined;
  }
  return {
    described: `Redis ${/redis_version:(\S+)/.exec(info)?.[1]}, appendonly no (\`:always\`: appendfsync always)`,
    serverPid: server.pid,
    open: async () => `redis://127.0.0.1:${port}`,
    async createOrders() {},
    async relax() {},
    async settle() {},
    async dropAll() {
      await ask(port, 'FLUSHALL');
    },
    stop,
  };
}

async function freePort(): Promise<number> {
  const probe = createServer();
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve));
  const { port } = probe.address() as { port: number };
  await new Promise((resolve) => probe.close(resolve));
  return port;
}

/** One inline command; what comes within a moment is its answer. */
function ask(port: number, command: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(`${command}\r\nQUIT\r\n`));
    let answer = '';
    socket.on('data', (data) => {
      answer += data;
    });
    socket.on('error', reject).on('close', () => (answer.startsWith('-') ? reject(new Error(answer)) : resolve(answer)));
  });
}
