import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { testService } from '@stepping/test-services';
import type { Change, TransactionStore } from '@stepping/tm-local';
import { DataSource } from 'typeorm';
import { aClaim, aJob, openStore } from './a-store.js';

const postgres = await testService('postgres-own');

/** Until the server crashes before it has flushed what it need not have. */
const ROUNDS = 20;

postgres.describe('what PostgreSQL had answered before it crashed', () => {
  let dataSource: DataSource;
  let store: TransactionStore;

  beforeAll(async () => {
    dataSource = await new DataSource({ type: 'postgres', url: await postgres.database(), poolErrorHandler: () => {} }).initialize();
    // From its next start on.
    await dataSource.query(`alter system set wal_writer_delay = '10s'`);
    await postgres.restart();
    store = openStore({ dataSource });
    await until(() => store.start().then(() => true));
  });

  afterAll(async () => {
    await store.stop();
    await dataSource.destroy();
  });

  const prepared = async (gid: string) => {
    const job = aJob({ gid, status: 'prepared', queue: '~db/typeorm/default', dueInMs: 0 });
    await until(() => store.create([job]));
    return job;
  };

  it('is there afterwards', async () => {
    const job = await prepared('flushed');
    expect(await store.change([submit(job)])).toMatchObject([{ changed: true }]);
    await postgres.restart();
    expect(await until(() => store.find(job.gid))).toMatchObject({ status: 'submitted', lease: job.lease + 1 });
  });

  it('is there, too, where it went together with what may be lost', async () => {
    const [may, not] = [await prepared('may-be-lost'), await prepared('not-to-be-lost')];
    await store.change([submit(may, { mayBeLost: true }), submit(not)]);
    await postgres.restart();
    for (const { gid } of [may, not]) expect(await until(() => store.find(gid))).toMatchObject({ status: 'submitted' });
  });

  it('is there, too, when something was written after it', async () => {
    const job = await prepared('claimed');
    await store.change([submit(job, { mayBeLost: true })]);
    expect(await store.claimDue(aClaim())).toContainEqual(expect.objectContaining({ gid: job.gid, lease: job.lease + 2 }));
    await postgres.restart();
    expect(await until(() => store.find(job.gid))).toMatchObject({ status: 'submitted', lease: job.lease + 2, held: true });
  });

  it('may be as before, where it may be lost: the job is prepared again', async () => {
    let lost = 0;
    for (let round = 0; round < ROUNDS && lost === 0; round++) {
      const job = await prepared(`job-${round}`);
      expect(await store.change([submit(job, { mayBeLost: true })])).toMatchObject([{ changed: true }]);
      await postgres.restart();
      const row = await until(() => store.find(job.gid));
      if (row.status === 'submitted') continue;
      lost++;
      expect(row).toMatchObject({ status: 'prepared', lease: job.lease, instance: job.instance });
    }
    expect(lost).toBe(1);
  });
});

function submit({ gid, instance }: { gid: string; instance: string }, { mayBeLost = false } = {}): Change {
  return { gid, instance, from: ['prepared'], to: 'submitted', queue: 'default', dueInMs: 0, held: false, error: undefined, mayBeLost };
}

/** Asks again while the server is on its way back. */
async function until<T>(ask: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const answer = await ask().catch(() => undefined);
    if (answer !== undefined) return answer;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
