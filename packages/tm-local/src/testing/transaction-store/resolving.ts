import assert from 'node:assert/strict';
import { type Bench, describe, it } from './bench.js';
import { leavesAlone } from './creating.js';
import { aJob, aJobThatIs, claim, createOne, unique } from './rows.js';

/** R9 on committed rows; those of open transactions are in enlisting.ts. */
export function describeResolving(bench: Bench): void {
  describe('resolve', () => {
    it('says rolled-back where there is no row, and leaves one that says so', async () => {
      const gid = unique('doubt');
      assert.equal(await bench.store.resolve(gid, 'mine'), 'rolled-back');
      const row = await bench.row(gid);
      assert.deepEqual(
        { instance: row.instance, status: row.status, steps: row.steps, held: row.held, dueAt: row.dueAt, error: row.error },
        { instance: 'mine', status: 'rolled-back', steps: '{"v":1,"steps":[]}', held: false, dueAt: undefined, error: undefined },
      );
      assert.deepEqual(row.finishedAt, row.createdAt);
      assert.ok(Number.isSafeInteger(row.lease) && row.lease > 0 && row.lease < 2 ** 48);
    });

    it('says the same again, to whoever asks', async () => {
      const gid = unique('doubt');
      assert.equal(await bench.store.resolve(gid, 'mine'), 'rolled-back');
      assert.equal(await bench.second.resolve(gid, 'mine'), 'rolled-back');
      assert.equal(await bench.store.resolve(gid, 'of another'), 'rolled-back');
    });

    it('says rolled-back to all who ask at the same time', async () => {
      const gid = unique('doubt');
      const answers = await Promise.all(
        Array.from({ length: 6 }, (_, i) => (i % 2 ? bench.store : bench.second).resolve(gid, `i${i % 3}`)),
      );
      assert.deepEqual(new Set(answers), new Set(['rolled-back']));
    });

    for (const status of ['submitted', 'succeeded', 'failed', 'cancelled'] as const) {
      it(`says committed of a job of mine that is ${status}, and rolled-back of another's`, async () => {
        const job = await aJobThatIs(bench, status);
        await leavesAlone(bench, job.gid, async () => {
          assert.equal(await bench.store.resolve(job.gid, job.instance), 'committed');
          assert.equal(await bench.store.resolve(job.gid, 'of another'), 'rolled-back');
        });
      });
    }

    it('says rolled-back of a job of mine that is rolled-back', async () => {
      const job = await aJobThatIs(bench, 'rolled-back');
      await leavesAlone(bench, job.gid, async () => assert.equal(await bench.store.resolve(job.gid, job.instance), 'rolled-back'));
    });

    it('does not know what a job of mine was that is being purged', async () => {
      const job = await aJobThatIs(bench, 'purging');
      await leavesAlone(bench, job.gid, async () => {
        assert.equal(await bench.store.resolve(job.gid, job.instance), 'unknown');
        assert.equal(await bench.store.resolve(job.gid, 'of another'), 'rolled-back');
      });
    });

    it('leaves the gid free for a new start', async () => {
      const gid = unique('doubt');
      await bench.store.resolve(gid, 'mine');
      const { lease } = await bench.row(gid);
      const job = aJob({ gid });
      assert.deepEqual(await createOne(bench.second, job), { outcome: 'stored', lease: lease + 1 });
      assert.equal((await claim(bench.store))[0]?.instance, job.instance);
      assert.equal(await bench.store.resolve(gid, job.instance), 'committed');
    });
  });
}
