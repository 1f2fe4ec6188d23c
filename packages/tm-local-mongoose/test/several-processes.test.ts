import { strict as assert } from 'node:assert';
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { it } from '@jest/globals';
import { nodeArgsFor, testService } from '@stepping/test-services';
import mongoose from 'mongoose';
import { aJob, openStore } from './a-store.js';

const mongodb = await testService('mongodb');

mongodb.describe('mongooseStore in several processes', () => {
  it('gives each job to exactly one of them', async () => {
    const url = await mongodb.database();
    const connection = await mongoose.createConnection(url).asPromise();
    const store = openStore({ connection });
    await store.start();
    const jobs = Array.from({ length: 300 }, (_, i) => aJob({ gid: `job-${String(i).padStart(4, '0')}` }));
    await store.create(jobs);

    const workers = await Promise.all([aWorker(url), aWorker(url), aWorker(url)]);
    const outputs = await Promise.all(workers.map((worker) => worker.work()));

    const done: string[][] = outputs.map((output) => JSON.parse(output));
    assert.deepEqual(
      done.flat().sort(),
      jobs.map(({ gid }) => gid),
    );
    assert.ok(done.filter((gids) => gids.length > 0).length > 1);
    assert.equal((await store.stats()).succeeded, 300);
    await store.stop();
    await connection.close();
  }, 60_000);
});

/** A process that has started its store and waits for the word. */
async function aWorker(url: string): Promise<{ work(): Promise<string> }> {
  const script = join(import.meta.dirname, 'work-until-empty.ts');
  const worker = spawn(process.execPath, [...nodeArgsFor(script), url], { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface(worker.stdout)[Symbol.asyncIterator]();
  assert.equal((await lines.next()).value, 'ready');
  return {
    async work() {
      worker.stdin.end();
      return (await lines.next()).value;
    },
  };
}
