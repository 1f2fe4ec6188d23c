import { expect, it } from '@jest/globals';
import { testService } from '@stepping/test-services';
import type { Change } from '@stepping/tm-local';
import { DataSource } from 'typeorm';
import { aClaim, aJob, openStore } from './a-store.js';

const postgres = await testService('postgres-own');

/** Until the server crashes before it has flushed what it need not have. */
const ROUNDS = 20;

postgres.describe('a submit that PostgreSQL had answered and lost in a crash', () => {
  it('leaves the job prepared, and its fencing number to nobody', async () => {
    const dataSource = await new DataSource({
      type: 'postgres',
      url: await postgres.database(),
      poolErrorHandler: () => {},
    }).initialize();
    // From its next start on.
    await dataSource.query(`alter system set wal_writer_delay = '10s'`);
    await postgres.restart();
    const store = openStore({ dataSource });
    await until(() => store.start().then(() => true));

    let lost = 0;
    for (let round = 0; round < ROUNDS && lost === 0; round++) {
      const job = aJob({ gid: `job-${round}`, status: 'prepared', queue: '~db/typeorm/default', dueInMs: 0 });
      await store.create([job]);
      const [answer] = await store.change([submit(job.gid, job.instance)]);
      const lease = answer?.changed ? answer.lease : 0;
      expect(lease).toBeGreaterThan(job.lease);
      await postgres.restart();
      const row = await until(() => store.find(job.gid));
      if (row.status === 'submitted') continue;
      lost++;
      expect(row).toMatchObject({ status: 'prepared', lease: job.lease, instance: job.instance });
      // Whoever was told that it holds the job writes nothing over what comes next.
      const [claimed] = await store.claimDue(aClaim({ queue: job.queue }));
      expect(claimed).toMatchObject({ gid: job.gid, lease: job.lease + 1 });
      const late = { gid: job.gid, lease, step: 1, attempt: 1, status: 'succeeded', giveUp: false } as const;
      const saved = await store.save([{ ...late, dueInMs: undefined, queue: undefined, error: undefined }]);
      expect(saved).toEqual(new Set());
    }
    expect(lost).toBe(1);
    await store.stop();
    await dataSource.destroy();
  });
});

function submit(gid: string, instance: string): Change {
  const values = { queue: 'default', dueInMs: 60_000, held: true, error: undefined };
  return { gid, instance, from: ['prepared'], to: 'submitted', ...values, mayBeLost: true };
}

/** Asks again while the server is on its way back. */
async function until<T>(ask: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const answer = await ask().catch(() => undefined);
    if (answer !== undefined) return answer;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
