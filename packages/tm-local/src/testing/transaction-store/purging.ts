import assert from 'node:assert/strict';
import type { DbRef } from '@stepping/core';
import { type Bench, describe, it } from './bench.js';
import { leavesAlone } from './creating.js';
import { aJob, aJobThatIs, checkpoint, claimed, createOne, DAY_MS, finish, gidsOf, HOUR_MS, keyOf, stored } from './rows.js';

export function describePurging(bench: Bench): void {
  const startPurge = (over: { finishedMsAgo?: number; failedMsAgo?: number; limit?: number } = {}, store = bench.store) =>
    store.startPurge({ finishedMsAgo: HOUR_MS, failedMsAgo: HOUR_MS, limit: 1_000, ...over });
  const finishedDaysAgo = async (days: number, status: 'succeeded' | 'failed' | 'cancelled' | 'rolled-back' = 'succeeded') => {
    const job = await aJobThatIs(bench, status, { db: { provider: 'memory', name: 'orders', tenant: 'acme' } });
    await bench.age(job.gid, days * DAY_MS);
    return job;
  };

  describe('startPurge', () => {
    it('takes finished jobs that are old enough, with their fence moved and their database named', async () => {
      const jobs = [
        await finishedDaysAgo(2),
        await finishedDaysAgo(2, 'cancelled'),
        await finishedDaysAgo(2, 'rolled-back'),
        await finishedDaysAgo(2, 'failed'),
      ];
      const rows = await Promise.all(jobs.map(({ gid }) => bench.row(gid)));
      const purging = await startPurge();
      assert.deepEqual(
        [...purging].sort((a, b) => (a.gid < b.gid ? -1 : 1)),
        rows.map(({ gid, lease, db }) => ({ gid, lease: lease + 1, db, barrierDbs: [] })).sort((a, b) => (a.gid < b.gid ? -1 : 1)),
      );
      for (const { gid, lease } of purging) {
        const row = await bench.row(gid);
        assert.deepEqual({ status: row.status, lease: row.lease }, { status: 'purging', lease });
      }
    });

    it('names every database in which saves said that there are barriers, each once', async () => {
      const dbs = [
        { provider: 'memory', name: 'orders', tenant: 'acme' },
        { provider: 'memory', name: 'orders' },
        { provider: 'memory', name: 'orders', tenant: `o'brien "&" \\ söhne\n🚚` },
      ] as const;
      const [acme, none, hostile] = dbs;
      const job = await stored(bench.store, aJob());
      const neighbour = await stored(bench.store, aJob({ queue: 'other' }));
      const first = await claimed(bench.store, job);
      const other = await claimed(bench.store, neighbour);
      await bench.store.save([{ ...checkpoint(first, 1), barrierDbs: [acme] }]);
      // A repeat, and one in a batch with a job that has none.
      await bench.store.save([{ ...checkpoint(first, 1), barrierDbs: [acme] }]);
      const batch = [{ ...checkpoint(first, 2), barrierDbs: [none, acme, hostile] }, checkpoint(other, 1)];
      await bench.store.save(batch.sort((a, b) => (a.gid < b.gid ? -1 : 1)));
      await bench.store.save([{ ...checkpoint(first, 1), barrierDbs: [{ provider: 'memory', name: 'late' }] }]); // lands late: not written
      await bench.store.save([finish(first), finish(other)].sort((a, b) => (a.gid < b.gid ? -1 : 1)));
      for (const { gid } of [job, neighbour]) await bench.age(gid, 2 * DAY_MS);

      const purging = new Map((await startPurge()).map(({ gid, barrierDbs }) => [gid, barrierDbs]));
      const sorted = (refs: readonly DbRef[] = []) => refs.map((ref) => JSON.stringify(ref, ['provider', 'name', 'tenant'])).sort();
      assert.deepEqual(sorted(purging.get(job.gid)), sorted(dbs));
      assert.deepEqual(purging.get(neighbour.gid), []);
      // Also for who takes the purge over.
      await bench.age(job.gid, HOUR_MS);
      const taken = (await startPurge({}, bench.second)).find(({ gid }) => gid === job.gid);
      assert.deepEqual(sorted(taken?.barrierDbs), sorted(dbs));
    });

    it('leaves alone what is younger or not finished, however old', async () => {
      await finishedDaysAgo(0);
      await finishedDaysAgo(1);
      await bench.age((await stored(bench.store, aJob())).gid, 100 * DAY_MS);
      await bench.age((await aJobThatIs(bench, 'prepared')).gid, 100 * DAY_MS);
      assert.deepEqual(await startPurge({ finishedMsAgo: 2 * DAY_MS, failedMsAgo: 2 * DAY_MS }), []);
    });

    it('goes by when a job ended, not by when it was created', async () => {
      const job = await stored(bench.store, aJob());
      await bench.age(job.gid, 100 * DAY_MS);
      await bench.store.change([
        {
          gid: job.gid,
          instance: undefined,
          from: ['submitted'],
          to: 'cancelled',
          queue: undefined,
          dueInMs: 0,
          held: false,
          error: undefined,
        },
      ]);
      assert.deepEqual(await startPurge(), []);
    });

    it('keeps failed jobs for as long as is said for them', async () => {
      const failed = await finishedDaysAgo(5, 'failed');
      const succeeded = await finishedDaysAgo(5);
      assert.deepEqual(gidsOf(await startPurge({ finishedMsAgo: 2 * DAY_MS, failedMsAgo: 9 * DAY_MS })), [succeeded.gid]);
      assert.deepEqual(gidsOf(await startPurge({ finishedMsAgo: 9 * DAY_MS, failedMsAgo: 2 * DAY_MS })), [failed.gid]);
    });

    it('takes no more than asked for, and the rest the next time', async () => {
      const jobs = [];
      for (let i = 0; i < 5; i++) jobs.push(await finishedDaysAgo(2));
      const batches = [
        await startPurge({ limit: 2 }),
        await startPurge({ limit: 2 }),
        await startPurge({ limit: 2 }),
        await startPurge({ limit: 2 }),
      ];
      assert.deepEqual(
        batches.map(({ length }) => length),
        [2, 2, 1, 0],
      );
      assert.deepEqual(gidsOf(batches.flat()), gidsOf(jobs));
    });

    it('gives each job to one of several purges', async () => {
      const jobs = Array.from({ length: 40 }, () => aJob());
      await bench.store.create(jobs);
      await bench.store.change(
        jobs.map(({ gid }) => ({
          gid,
          instance: undefined,
          from: ['submitted'],
          to: 'cancelled',
          queue: undefined,
          dueInMs: 0,
          held: false,
          error: undefined,
        })),
      );
      for (const { gid } of jobs) await bench.age(gid, DAY_MS);
      const purges = await Promise.all([0, 1, 2, 3].map((i) => startPurge({ limit: 40 }, i % 2 ? bench.second : bench.store)));
      assert.deepEqual(gidsOf([...purges.flat(), ...(await startPurge())]), gidsOf(jobs));
    });

    it('keeps the gid taken, and the job from being redriven, until the row is gone', async () => {
      const job = await finishedDaysAgo(2, 'failed');
      await startPurge();
      await leavesAlone(bench, job.gid, async () => {
        assert.deepEqual(await createOne(bench.second, aJob({ gid: job.gid })), { outcome: 'in-doubt' });
        const [redriven] = await bench.store.change([
          {
            gid: job.gid,
            instance: undefined,
            from: ['failed'],
            to: 'submitted',
            queue: undefined,
            dueInMs: 0,
            held: false,
            error: undefined,
          },
        ]);
        assert.deepEqual(redriven, { changed: false, found: { status: 'purging', instance: job.instance } });
      });
    });

    it('takes over what another purge left for ten minutes, and not before', async () => {
      await finishedDaysAgo(2);
      const [mine] = await startPurge();
      assert.ok(mine);
      await bench.age(mine.gid, 9 * 60_000);
      assert.deepEqual(await startPurge({}, bench.second), []);
      await bench.age(mine.gid, 2 * 60_000);
      const [theirs] = await startPurge({}, bench.second);
      assert.deepEqual(theirs, { ...mine, lease: mine.lease + 1 });
      assert.equal(await bench.store.finishPurge([keyOf(mine)]), 0);
      assert.equal(await bench.second.finishPurge([keyOf(theirs)]), 1);
    });
  });

  describe('finishPurge', () => {
    it('deletes what is still mine, and counts it', async () => {
      const jobs = [await finishedDaysAgo(2), await finishedDaysAgo(2), await finishedDaysAgo(2)];
      const purging = await startPurge();
      const [first, ...others] = purging.map(keyOf);
      assert.ok(first);
      assert.equal(await bench.store.finishPurge([{ ...first, lease: first.lease - 1 }, ...others]), 2);
      assert.equal((await bench.row(first.gid)).status, 'purging');
      assert.equal(await bench.second.finishPurge([first]), 1);
      for (const { gid } of jobs) assert.equal(await bench.store.find(gid), undefined);
    });

    it('deletes nothing that is not being purged', async () => {
      const job = await finishedDaysAgo(2);
      const { lease } = await bench.row(job.gid);
      await leavesAlone(bench, job.gid, async () => assert.equal(await bench.store.finishPurge([{ gid: job.gid, lease }]), 0));
      assert.equal(await bench.store.finishPurge([{ gid: 'nobody', lease: 1 }]), 0);
      assert.equal(await bench.store.finishPurge([]), 0);
    });

    it('frees the gid, and old writes of its former life do not reach the new one', async () => {
      const old = await finishedDaysAgo(2);
      const purging = await startPurge();
      await bench.store.finishPurge(purging.map(keyOf));
      // The same number as the old life had would match by chance once in 2 ** 48.
      const again = await stored(bench.store, aJob({ gid: old.gid, lease: 2 ** 40 }));
      await leavesAlone(bench, again.gid, async () => {
        assert.equal(await bench.store.finishPurge(purging.map(keyOf)), 0);
        assert.deepEqual(await bench.store.extend([keyOf(old)], 60_000), new Set());
      });
    });
  });
}
