import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from '@jest/globals';
import { createStepping, defineStep, type Stepping, type TmPlugin, unchecked } from '@stepping/core';
import { inTransaction, typeormDb, typeormTransaction } from '@stepping/db-typeorm';
import { freePort, testService } from '@stepping/test-services';
import { localTm } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { typeormStore } from '@stepping/tm-local-typeorm';
import { DataSource } from 'typeorm';
import { dtm } from '../src/index.js';

const service = await testService('dtm');
const ends: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

service.describe('a service that moves from the local transaction manager to DTM', () => {
  it('lets the jobs that it has written drain while new ones go to the server', async () => {
    const ran: string[] = [];
    const note = defineStep({
      name: 'moving.note',
      args: unchecked<{ name: string }>(),
      run: ({ args }) => void ran.push(args.name),
    });
    const folder = mkdtempSync(join(tmpdir(), 'stepping-moving-'));
    ends.push(async () => rmSync(folder, { recursive: true, force: true }));
    const start = async (tm: TmPlugin, dataSource: DataSource): Promise<Stepping> => {
      const stepping = createStepping({ steps: [note], tm, use: [typeormDb({ dataSource })] });
      await stepping.start();
      ends.push(() => stepping.stop());
      return stepping;
    };
    const shop = await openSqlite(join(folder, 'shop.sqlite'));
    const jobs = await openSqlite(join(folder, 'jobs.sqlite'));
    const store = () => typeormStore({ dataSource: jobs });

    // Before the move: a job that waits, and one whose process dies between its commit and its submit.
    const before = await start(localTm({ store: store(), prepareTimeoutMs: 1 }), shop);
    const waiting = before.createJob().addStep(note, { name: 'waiting' });
    await waiting.start();
    const runner = shop.createQueryRunner();
    await runner.startTransaction();
    const committed = before.createJob({ transaction: typeormTransaction(runner) }).addStep(note, { name: 'committed' });
    await committed.prepare();
    await runner.commitTransaction();
    await runner.release();
    await before.stop();
    expect(ran).toEqual([]);

    // The move: one process drains, the others work with the server.
    const drain = await start(localTm({ store: store(), processor: hostedProcessor() }), shop);
    const port = await freePort();
    const tm = dtm({
      serverUrl: await service.database(),
      callbackUrl: `http://127.0.0.1:${port}`,
      listen: { port },
      secret: 'of this test',
    });
    const after = await start(tm, shop);
    let moved = '';
    await inTransaction(after, shop, async ({ job }) => {
      moved = job.gid;
      job.addStep(note, { name: 'moved' });
    });

    for (const [app, gid] of [[drain, waiting.gid] as const, [drain, committed.gid] as const, [after, moved] as const]) {
      expect(await app.jobs.wait(gid, { timeoutMs: 50_000 })).toMatchObject({ status: 'succeeded' });
    }
    expect(ran.toSorted()).toEqual(['committed', 'moved', 'waiting']);
    expect(await drain.jobs.stats()).toMatchObject({ prepared: 0, submitted: 0, succeeded: 2 });
    expect(await after.jobs.find(waiting.gid)).toBeUndefined();
    expect(await drain.jobs.find(moved)).toBeUndefined();
  }, 60_000);
});

async function openSqlite(database: string): Promise<DataSource> {
  const dataSource = await new DataSource({ type: 'better-sqlite3', database, enableWAL: true }).initialize();
  ends.push(() => dataSource.destroy());
  return dataSource;
}
