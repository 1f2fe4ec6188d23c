import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { testService } from '@stepping/test-services';
import { runScript, spawnScript } from './start-script.js';

const postgres = await testService('postgres');
const mariadb = await testService('mariadb');
const mongodb = await testService('mongodb');
const dtm = await testService('dtm');

// Two kills, each followed by a lease that must run out, on a busy machine.
jest.setTimeout(120_000);

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'stepping-demo-test-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

describe('The demo on SQLite', () => {
  it('loses, doubles and mixes up nothing although the shop is killed', async () => {
    expectAllIsWell(await demo());
  });

  it('loses, doubles and mixes up nothing with the orders in a database of their own', async () => {
    expectAllIsWell(await demo(['--two-databases']));
  });

  it('leaves no process behind when it is killed itself', async () => {
    const demo = spawnScript('../src/demo/demo.ts', [], { TMPDIR: directory });
    let urls: string[] = [];
    while (urls.length < 3) {
      urls = urlsIn(directory);
      await sleep(50);
    }
    demo.child.kill('SIGKILL');
    for (const url of urls) await untilClosed(new URL(url));
  });

  it('makes its orders of the lines that it is given', async () => {
    const lines = fileWith([{ sku: 'only-this', quantity: 3, unitPrice: 5 }]);
    const { exitCode, output } = await runScript('../src/demo/demo.ts', ['--orders', '10', '--kills', '0', '--lines', lines]);
    expect({ exitCode, output }).toEqual({ exitCode: 0, output: expect.stringMatching(/^ {2}orders placed +9$/m) });
  });

  it('says what is wrong with the lines that it is given', async () => {
    const lines = fileWith([{ sku: 'tea', quantity: 3, unitPrice: 5.5 }]);
    const { exitCode, output } = await runScript('../src/demo/demo.ts', ['--lines', lines]);
    expect({ exitCode, output }).toEqual({ exitCode: 2, output: expect.stringContaining('[0].unitPrice') });
  });

  it('says what is wrong with its arguments', async () => {
    const { exitCode, output } = await runScript('../src/demo/demo.ts', ['--orders', 'many']);
    expect(exitCode).toBe(2);
    expect(output).toContain('--orders is a whole number, here at least 30, not many');
  });
});

postgres.describe('The demo on PostgreSQL', () => {
  it('loses, doubles and mixes up nothing although the shop is killed', async () => {
    expectAllIsWell(await demo(['--db', 'postgres'], { STEPPING_DB_URL: await postgres.database() }));
  });

  it('loses, doubles and mixes up nothing with the orders in a database of their own', async () => {
    expectAllIsWell(await demo(['--db', 'postgres', '--two-databases'], { STEPPING_DB_URL: await postgres.database() }));
  });
});

mariadb.describe('The demo on MariaDB', () => {
  it('loses, doubles and mixes up nothing although the shop is killed, with the orders in a database of their own', async () => {
    const args = ['--db', 'mariadb', '--two-databases', '--orders', '40'];
    expectAllIsWell(await demo(args, { STEPPING_DB_URL: await mariadb.database() }), { orders: 36 });
  });

  it('starts a server where none is named', async () => {
    const { exitCode, output } = await runScript('../src/demo/demo.ts', ['--db', 'mariadb', '--orders', '10', '--kills', '0']);
    expect({ exitCode, output }).toEqual({ exitCode: 0, output: expect.stringMatching(/^ {2}orders placed +9$/m) });
  });
});

mongodb.describe('The demo on MongoDB', () => {
  it('loses, doubles and mixes up nothing although the shop is killed', async () => {
    // One kill: the server keeps the transactions of a killed process for a minute, and others wait for what they hold.
    const args = ['--db', 'mongo', '--orders', '40', '--kills', '1'];
    expectAllIsWell(await demo(args, { STEPPING_DB_URL: await mongodb.database() }), { orders: 36, kills: 1 });
  }, 240_000);
});

dtm.describe('The demo with a DTM server', () => {
  it('loses, doubles and mixes up nothing although the shop and the server are killed', async () => {
    expectAllIsWell(await demo(['--tm', 'dtm']));
  }, 240_000);
});

/** 60 orders, of which 6 are refused; four steps each, run once, and again for each kill and each failure of the payment provider. */
function expectAllIsWell({ exitCode, output }: { exitCode: number | null; output: string }, { orders = 54, kills = 2 } = {}): void {
  const rows = [...output.matchAll(/^ {2}([a-z ]+?) {2,}(\d+)$/gm)].map(([, label, count]) => [label, Number(count)]);
  const { 'steps run': run, 'steps repeated after a crash': repeated, ...table } = Object.fromEntries(rows);
  // With what it wrote if it failed: what was wrong, and how to run the same again.
  expect({ exitCode, table, output: exitCode === 0 ? '' : output }).toEqual({
    exitCode: 0,
    table: {
      'orders placed': orders,
      'jobs finished': orders,
      'orders lost': 0,
      'accepted twice': 0,
      'charged twice': 0,
      'charged or mailed without an order': 0,
      'out of order': 0,
    },
    output: '',
  });
  expect(repeated).toBeGreaterThanOrEqual(kills);
  expect(run).toBeGreaterThanOrEqual(orders * 4 + repeated);
}

function demo(args: readonly string[] = [], env: Record<string, string> = {}) {
  return runScript('../src/demo/demo.ts', ['--orders', '60', '--kills', '2', ...args], env);
}

function fileWith(lines: object[]): string {
  const file = join(directory, 'lines.json');
  writeFileSync(file, JSON.stringify(lines));
  return file;
}

/** Where the servers of a demo listen, by their logs. */
function urlsIn(directory: string): string[] {
  const logs = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.log'));
  return logs.flatMap((log) => /listening (?:on|at) ([a-z]+:\/\/[^\s"]+)/.exec(readFileSync(join(directory, log), 'utf8'))?.[1] ?? []);
}

async function untilClosed({ hostname, port }: URL): Promise<void> {
  const accepts = () =>
    new Promise<boolean>((resolve) => {
      const socket = connect(Number(port), hostname);
      socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
  while (await accepts()) await sleep(50);
}
