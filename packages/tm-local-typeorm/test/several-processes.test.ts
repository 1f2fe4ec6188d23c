import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, expect, it } from '@jest/globals';
import { nodeArgsFor, testService } from '@stepping/test-services';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { aJob, openStore } from './a-store.js';

const postgres = await testService('postgres');
const mysqls = [await testService('mariadb'), await testService('mysql')];
const folder = mkdtempSync(join(tmpdir(), 'stepping-processes-'));

afterAll(() => rmSync(folder, { recursive: true }));

it(
  'gives each job to exactly one of several processes, on SQLite',
  () => gives({ type: 'better-sqlite3', database: join(folder, 'jobs.sqlite') }),
  60_000,
);

postgres.describe('on PostgreSQL', () => {
  it('gives each job to exactly one of several processes', async () => gives({ type: 'postgres', url: await postgres.database() }), 60_000);
});

for (const mysql of mysqls) {
  mysql.describe(`on ${mysql.name}`, () => {
    it('gives each job to exactly one of several processes', async () => gives({ type: 'mariadb', url: await mysql.database() }), 60_000);
  });
}

async function gives(options: DataSourceOptions): Promise<void> {
  const dataSource = await new DataSource(options).initialize();
  const store = openStore({ dataSource });
  await store.start();
  const jobs = Array.from({ length: 1_000 }, (_, i) => aJob({ gid: `job-${String(i).padStart(4, '0')}` }));
  await store.create(jobs);

  const workers = await Promise.all([aWorker(options), aWorker(options), aWorker(options)]);
  const outputs = await Promise.all(workers.map((worker) => worker.work()));

  const done: string[][] = outputs.map((output) => JSON.parse(output));
  expect(done.flat().sort()).toEqual(jobs.map(({ gid }) => gid));
  expect(done.filter((gids) => gids.length > 0).length).toBeGreaterThan(1);
  expect((await store.stats()).succeeded).toBe(1_000);
  await store.stop();
  await dataSource.destroy();
}

/** A process that has started its store and waits for the word. */
async function aWorker(options: DataSourceOptions): Promise<{ work(): Promise<string> }> {
  const script = join(import.meta.dirname, 'work-until-empty.ts');
  const worker = spawn(process.execPath, [...nodeArgsFor(script), JSON.stringify(options)], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface(worker.stdout)[Symbol.asyncIterator]();
  expect((await lines.next()).value).toBe('ready');
  return {
    async work() {
      worker.stdin.end();
      return (await lines.next()).value;
    },
  };
}
