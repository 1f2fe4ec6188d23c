import assert from 'node:assert/strict';
import type { ClaimedJob } from '../../transaction-store.js';
import { assertBetween, type Bench, describe, it, until } from './bench.js';
import {
  aJob,
  aJobThatIs,
  aPreparedJob,
  claim,
  claimed,
  claimedUntilEmpty,
  finish,
  gidsOf,
  HOUR_MS,
  handBack,
  retry,
  stored,
} from './rows.js';

export function describeClaiming(bench: Bench): void {
  describe('claimDue', () => {
    it('hands out the job with all that its holder needs, the fence moved, held and due after the lease', async () => {
      const job = await stored(bench.store, aJob({ tenant: 'acme', db: { provider: 'memory', name: 'orders', tenant: 'acme' } }));
      await bench.age(job.gid, 5_000);
      const before = await bench.now();
      const { ageMs, ...rest } = await claimed(bench.store, job, 60_000);
      const after = await bench.now();

      assert.deepEqual(rest, {
        gid: job.gid,
        instance: job.instance,
        status: 'submitted',
        queue: job.queue,
        step: 0,
        attempt: 1,
        lease: job.lease + 1,
        wasHeld: false,
        tenant: job.tenant,
        db: job.db,
        steps: job.steps,
      });
      const row = await bench.row(job.gid);
      assert.deepEqual(
        { lease: row.lease, held: row.held, attempt: row.attempt, step: row.step },
        { lease: job.lease + 1, held: true, attempt: 1, step: 0 },
      );
      assertBetween(row.dueAt?.getTime(), before + 60_000, after + 60_000);
      assertBetween(ageMs, 5_000, 5_000 + after - before + 1_000);
    });

    it('takes the most overdue first, and no more than asked for', async () => {
      const jobs = Array.from({ length: 6 }, () => aJob());
      await bench.store.create(jobs);
      const byAge = [3, 0, 5, 1, 4, 2].map((i) => jobs[i]?.gid as string);
      for (const [i, gid] of byAge.entries()) await bench.age(gid, (6 - i) * 10_000);

      assert.deepEqual(gidsOf(await claim(bench.store, { limit: 2 })), byAge.slice(0, 2).sort());
      assert.deepEqual(gidsOf(await claim(bench.second, { limit: 3 })), byAge.slice(2, 5).sort());
      assert.deepEqual(gidsOf(await claim(bench.store, { limit: 3 })), byAge.slice(5));
      assert.deepEqual(await claim(bench.store), []);
    });

    it('leaves alone what is not due, what is finished and what is of another queue', async () => {
      await stored(bench.store, aJob({ dueInMs: 60_000 }));
      await stored(bench.store, aJob({ queue: 'other' }));
      await aJobThatIs(bench, 'prepared');
      for (const status of ['succeeded', 'failed', 'cancelled', 'rolled-back', 'purging'] as const) {
        const { gid } = await aJobThatIs(bench, status);
        await bench.age(gid, HOUR_MS);
      }
      assert.deepEqual(await claim(bench.store), []);
    });

    it('hands out prepared jobs, through the queue of their database', async () => {
      const job = await stored(bench.store, aPreparedJob({ dueInMs: 0 }));
      assert.deepEqual(await claim(bench.store), []);
      const { status, db, attempt } = await claimed(bench.store, job);
      assert.deepEqual({ status, db, attempt }, { status: 'prepared', db: job.db, attempt: 1 });
    });

    it('hands a job out again when its lease has run out, and says that it was still held', async () => {
      const job = await stored(bench.store, aJob());
      await claimed(bench.store, job, 50);
      const again = await until<ClaimedJob>('the lease to run out', async () => (await claim(bench.second, { leaseMs: 60_000 }))[0]);
      assert.deepEqual(
        { gid: again.gid, wasHeld: again.wasHeld, lease: again.lease, attempt: again.attempt },
        { gid: job.gid, wasHeld: true, lease: job.lease + 2, attempt: 1 },
      );
    });

    it('does not call a job held that was given back, nor one that was stored held by nobody', async () => {
      const job = await stored(bench.store, aJob());
      const { lease } = await claimed(bench.store, job);
      await bench.store.save([handBack({ gid: job.gid, lease })]);
      assert.equal((await claimed(bench.store, job)).wasHeld, false);
    });

    it('calls a job held that was stored as claimed', async () => {
      const job = await stored(bench.store, aJob({ held: true, dueInMs: 60_000 }));
      await bench.age(job.gid, 61_000);
      assert.equal((await claimed(bench.store, job)).wasHeld, true);
    });

    it('tells where the job stands: step and attempt as they were saved', async () => {
      const job = await stored(bench.store, aJob());
      const { lease } = await claimed(bench.store, job);
      await bench.store.save([retry({ gid: job.gid, lease }, 7, 2)]);
      await bench.age(job.gid, HOUR_MS);
      const again = await claimed(bench.second, job);
      assert.deepEqual({ step: again.step, attempt: again.attempt, wasHeld: again.wasHeld }, { step: 2, attempt: 7, wasHeld: false });
    });

    it('gives one due job to exactly one of two competing claims', async () => {
      for (let round = 0; round < 20; round++) {
        const job = await stored(bench.store, aJob());
        const claims = await Promise.all([claim(bench.store, { limit: 1 }), claim(bench.second, { limit: 1 })]);
        assert.deepEqual(gidsOf(claims.flat()), [job.gid]);
      }
    });

    it('gives each of many jobs to exactly one of many claims', async () => {
      for (const [jobCount, limit] of [
        [20, 5],
        [200, 7],
      ] as const) {
        const jobs = Array.from({ length: jobCount }, () => aJob());
        await bench.store.create(jobs);
        const workers = [bench.store, bench.second, bench.store, bench.second].map(async (store) => {
          const mine: ClaimedJob[] = [];
          for (;;) {
            const batch = await claim(store, { limit });
            mine.push(...batch);
            // Rows that a rival is just claiming are due no more, so empty means: nothing is left for me.
            if (batch.length === 0 || mine.length > jobCount) return mine;
          }
        });
        const all = (await Promise.all(workers)).flat();
        const late = await claim(bench.store);
        assert.deepEqual(gidsOf([...all, ...late]), gidsOf(jobs));
      }
    });

    it('finds every job at its first look, whoever stored it and whatever was claimed before', async () => {
      for (let round = 0; round < 30; round++) {
        const [writer, reader] = round % 2 ? [bench.store, bench.second] : [bench.second, bench.store];
        const job = await stored(writer, aJob());
        // Half of them became due long before those claimed so far: as a retry, or a transaction that committed late.
        if (round % 4 < 2) await bench.age(job.gid, round * 60_000);
        assert.deepEqual(gidsOf(await claim(reader, { limit: 10 })), [job.gid]);
      }
    });

    it('does not keep an older job waiting for ever behind a stream of younger ones', async () => {
      const stream = () => bench.store.create(Array.from({ length: 2 }, () => aJob()));
      await stream();
      await claim(bench.store, { limit: 1 });
      // It comes in below what was claimed already, and from now on no claim is ever empty.
      const { gid } = await stored(bench.second, aJob());
      await bench.age(gid, HOUR_MS);
      await until('the older job', async () => {
        await stream();
        const [job] = await claim(bench.store, { limit: 1 });
        return job?.gid === gid ? true : undefined;
      });
    });

    it('gives all that is due before it comes back empty, whatever was claimed before', async () => {
      const jobs = Array.from({ length: 30 }, () => aJob());
      await bench.store.create(jobs);
      const all = [...(await claim(bench.store, { limit: 15 }))];
      const older = Array.from({ length: 10 }, () => aJob());
      await bench.store.create(older);
      for (const { gid } of older) await bench.age(gid, HOUR_MS);
      all.push(...(await claimedUntilEmpty(bench.store)));
      assert.deepEqual(gidsOf(all), gidsOf([...jobs, ...older]));
    });
  });

  describe('nextDueInMs', () => {
    const next = async (...queues: string[]) => Object.fromEntries(await bench.store.nextDueInMs(queues));

    it('is 0 where something is due, the wait where something will be, and nothing where there is nothing', async () => {
      await stored(bench.store, aJob({ queue: 'due' }));
      await stored(bench.store, aJob({ queue: 'due', dueInMs: 60_000 }));
      await stored(bench.store, aJob({ queue: 'later', dueInMs: 60_000 }));
      await stored(bench.store, aJob({ queue: 'later', dueInMs: 90_000 }));
      await stored(bench.store, aJob({ queue: 'not asked for' }));
      const { due, later, ...others } = await next('due', 'later', 'empty');
      assert.equal(due, 0);
      assertBetween(later, 30_000, 60_000);
      assert.deepEqual(others, {});
    });

    it('is 0, not less, for a job that has been due for long', async () => {
      const { gid } = await stored(bench.store, aJob());
      await bench.age(gid, HOUR_MS);
      assert.deepEqual(await next('default'), { default: 0 });
    });

    it('counts prepared jobs, and held ones until their lease ends', async () => {
      await stored(bench.store, aPreparedJob({ dueInMs: 10_000 }));
      const job = await stored(bench.store, aJob());
      await claimed(bench.store, job, 60_000);
      const found = await next('default', '~db/memory/orders');
      assertBetween(found.default, 30_000, 60_000);
      assertBetween(found['~db/memory/orders'], 1, 10_000);
    });

    it('does not count finished jobs', async () => {
      const job = await stored(bench.store, aJob());
      const { lease } = await claimed(bench.store, job);
      await bench.store.save([finish({ gid: job.gid, lease })]);
      await aJobThatIs(bench, 'failed');
      assert.deepEqual(await next('default'), {});
    });

    it('takes no queues at all for an answer', async () => {
      await stored(bench.store, aJob());
      assert.deepEqual(await next(), {});
    });

    it('never keeps a claim from what it says is due', async () => {
      const job = await stored(bench.store, aJob({ dueInMs: 30 }));
      await until('the job to be due', async () => ((await next('default')).default === 0 ? true : undefined));
      assert.deepEqual(gidsOf(await claim(bench.store)), [job.gid]);
    });
  });
}
