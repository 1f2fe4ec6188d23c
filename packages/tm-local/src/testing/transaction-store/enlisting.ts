import assert from 'node:assert/strict';
import type { CreateJob } from '../../transaction-store.js';
import { assertBetween, type Bench, describe, isWaiting, it, type OpenTransaction } from './bench.js';
import { describeAnswers, leavesAlone } from './creating.js';
import { aJob, aJobThatIs, claim, claimed, createdAtLast, createOne, finish, gidsOf, stored, unique } from './rows.js';

export function describeEnlisting(bench: Bench, { concurrentWriters }: { concurrentWriters: boolean }): void {
  /** An open transaction that has stored this job. */
  const withJob = async (job: CreateJob): Promise<OpenTransaction> => {
    const transaction = await bench.begin();
    assert.equal((await transaction.enlisted.create(job)).outcome, 'stored');
    return transaction;
  };

  describe('enlisting in a transaction of the user', () => {
    describeAnswers(bench, 'a create in a transaction', async (job) => {
      const transaction = await bench.begin();
      const answer = await transaction.enlisted.create(job);
      await transaction.commit();
      return answer;
    });

    it('is refused to transactions of other databases', () => {
      const foreign = [
        { kind: 'of-nobody', handle: {} },
        { kind: 'memory', handle: {} },
        { kind: 'typeorm', handle: {} },
        { kind: 'typeorm', handle: undefined },
      ];
      for (const native of foreign) assert.equal(bench.store.enlist?.(native), undefined);
      return Promise.resolve();
    });

    it('shows the job to nobody before the commit, and to all after it', async () => {
      const job = aJob();
      const transaction = await withJob(job);
      assert.equal(await bench.store.find(job.gid), undefined);
      assert.equal(await bench.second.find(job.gid), undefined);
      assert.deepEqual(await bench.second.list({ limit: 10 }), []);
      await transaction.commit();
      assert.equal((await bench.second.find(job.gid))?.instance, job.instance);
      assert.deepEqual(gidsOf(await claim(bench.second)), [job.gid]);
    });

    it('leaves nothing behind after a rollback, and the gid free', async () => {
      const job = aJob();
      await (await withJob(job)).rollback();
      assert.equal(await bench.store.find(job.gid), undefined);
      await stored(bench.store, aJob({ gid: job.gid }));
    });

    it('stores a job as claimed by the caller, who holds it from the commit on', async () => {
      const job = aJob({ held: true, dueInMs: 60_000 });
      await (await withJob(job)).commit();
      assert.deepEqual(await claim(bench.second), []);
      assert.deepEqual(await bench.store.save([finish(job)]), new Set([job.gid]));
    });

    it('stores several jobs in one transaction', async () => {
      const jobs = [aJob(), aJob(), aJob()];
      const transaction = await bench.begin();
      for (const job of jobs) assert.equal((await transaction.enlisted.create(job)).outcome, 'stored');
      await transaction.commit();
      assert.deepEqual(gidsOf(await claim(bench.store)), gidsOf(jobs));
    });

    it('sees what its own transaction stored before', async () => {
      const job = aJob();
      const transaction = await withJob(job);
      assert.deepEqual(await transaction.enlisted.create(job), { outcome: 'repeated', status: 'submitted', lease: job.lease });
      assert.deepEqual(await transaction.enlisted.create(aJob({ gid: job.gid })), { outcome: 'duplicate', status: 'submitted' });
      await transaction.commit();
      assert.equal((await bench.row(job.gid)).instance, job.instance);
    });

    it('leaves the transaction usable whatever the answer was', async () => {
      const taken = await aJobThatIs(bench, 'succeeded');
      const job = aJob();
      const transaction = await bench.begin();
      assert.equal((await transaction.enlisted.create(aJob({ gid: taken.gid }))).outcome, 'duplicate');
      assert.equal((await transaction.enlisted.create(job)).outcome, 'stored');
      await transaction.commit();
      assert.equal((await bench.row(job.gid)).instance, job.instance);
    });

    it('takes back a revive with its transaction', async () => {
      const { gid } = await aJobThatIs(bench, 'rolled-back');
      await leavesAlone(bench, gid, async () => (await withJob(aJob({ gid }))).rollback());
    });

    describe('a rival start of a gid that is uncommitted', () => {
      for (const end of ['commit', 'rollback'] as const) {
        const outcome = end === 'commit' ? 'duplicate' : 'stored';

        it(`is told nothing but "locked" before the end, and ${outcome} after a ${end}`, async () => {
          const job = aJob();
          const transaction = await withJob(job);
          let ended = false;
          const early: string[] = [];
          const rival = (async () => {
            for (;;) {
              const answer = await createOne(bench.second, aJob({ gid: job.gid }));
              if (answer.outcome !== 'locked') return answer;
              if (!ended) early.push(answer.outcome);
            }
          })();
          assert.equal(await isWaiting(rival), true);
          ended = true;
          await transaction[end]();
          assert.equal((await rival).outcome, outcome);
          assert.ok(early.every((answer) => answer === 'locked'));
        });

        it(`that goes alone waits, and is told ${outcome} after a ${end}`, async () => {
          const job = aJob();
          const transaction = await withJob(job);
          const rival = bench.second.createAlone(aJob({ gid: job.gid }), 10_000);
          assert.equal(await isWaiting(rival), true);
          await transaction[end]();
          assert.equal((await rival).outcome, outcome);
        });
      }

      it('is a repeat when it is the same call', async () => {
        const job = aJob();
        const transaction = await withJob(job);
        const again = createdAtLast(bench.second, job);
        assert.equal(await isWaiting(again), true);
        await transaction.commit();
        assert.deepEqual(await again, { outcome: 'repeated', status: 'submitted', lease: job.lease });
      });

      it('waits for a revive that is uncommitted, too', async () => {
        for (const end of ['commit', 'rollback'] as const) {
          const { gid } = await aJobThatIs(bench, 'rolled-back');
          const mine = aJob({ gid });
          const transaction = await withJob(mine);
          const rival = aJob({ gid });
          const answer = createdAtLast(bench.second, rival);
          assert.equal(await isWaiting(answer), true);
          await transaction[end]();
          assert.equal((await answer).outcome, end === 'commit' ? 'duplicate' : 'stored');
          assert.equal((await bench.row(gid)).instance, (end === 'commit' ? mine : rival).instance);
        }
      });
    });

    describe('resolve, while the commit is in flight', () => {
      for (const [end, answer] of [
        ['commit', 'committed'],
        ['rollback', 'rolled-back'],
      ] as const) {
        it(`waits for the transaction, then says ${answer} after a ${end}`, async () => {
          const job = aJob();
          const transaction = await withJob(job);
          const resolving = bench.second.resolve(job.gid, job.instance);
          assert.equal(await isWaiting(resolving), true);
          await transaction[end]();
          assert.equal(await resolving, answer);
          assert.equal((await bench.row(job.gid)).status, end === 'commit' ? 'submitted' : 'rolled-back');
        });

        // A5: an engine may answer "duplicate key" with the version from before the revive.
        it(`waits for a transaction that revives the gid, then says ${answer} after a ${end}`, async () => {
          const { gid } = await aJobThatIs(bench, 'rolled-back');
          const job = aJob({ gid });
          const transaction = await withJob(job);
          const resolving = bench.second.resolve(gid, job.instance);
          assert.equal(await isWaiting(resolving), true);
          await transaction[end]();
          assert.equal(await resolving, answer);
        });
      }

      it("says rolled-back of mine when it was another's job that committed", async () => {
        const job = aJob();
        const transaction = await withJob(job);
        const resolving = bench.second.resolve(job.gid, 'mine');
        await transaction.commit();
        assert.equal(await resolving, 'rolled-back');
        assert.equal((await bench.row(job.gid)).instance, job.instance);
      });

      it('does not wait for ever: unknown', async () => {
        const job = aJob();
        const transaction = await withJob(job);
        assert.equal(await bench.second.resolve(job.gid, job.instance), 'unknown');
        await transaction.commit();
        assert.equal(await bench.second.resolve(job.gid, job.instance), 'committed');
      });
    });

    if (concurrentWriters) describeConcurrentWriters(bench, withJob);
  });
}

/** What needs a second writer while the user's transaction is open. */
function describeConcurrentWriters(bench: Bench, withJob: (job: CreateJob) => Promise<OpenTransaction>): void {
  describe('beside other writers', () => {
    it('does not hold up the others of a batch for a gid that is locked', async () => {
      const locked = aJob();
      const transaction = await withJob(locked);
      const batch = [aJob(), aJob({ gid: locked.gid }), aJob()];
      const answers = await bench.second.create(batch);
      assert.deepEqual(
        answers.map(({ outcome }) => outcome),
        ['stored', 'locked', 'stored'],
      );
      assert.deepEqual(gidsOf(await claim(bench.store)), gidsOf([batch[0], batch[2]] as CreateJob[]));
      await transaction.commit();
      assert.equal((await bench.row(locked.gid)).instance, locked.instance);
    });

    it('answers "locked" to a start that goes alone when its time is up', async () => {
      const job = aJob();
      const transaction = await withJob(job);
      assert.deepEqual(await bench.second.createAlone(aJob({ gid: job.gid }), 100), { outcome: 'locked' });
      await transaction.commit();
      assert.equal((await bench.row(job.gid)).instance, job.instance);
    });

    it('writes nothing later for a start that was answered "locked"', async () => {
      const job = aJob();
      const transaction = await withJob(job);
      assert.deepEqual(await createOne(bench.second, aJob({ gid: job.gid })), { outcome: 'locked' });
      await transaction.rollback();
      assert.equal(await bench.second.find(job.gid), undefined);
      await stored(bench.store, aJob({ gid: job.gid }));
    });

    it('lets claims, saves and extends of other jobs go on', async () => {
      const other = await stored(bench.store, aJob());
      const transaction = await withJob(aJob());
      const worker = await claimed(bench.second, other);
      assert.deepEqual(await bench.second.extend([worker], 60_000), new Set([other.gid]));
      assert.deepEqual(await bench.second.save([finish(worker)]), new Set([other.gid]));
      await transaction.commit();
    });

    it('hands out at the first look what was committed late, although younger jobs were claimed before', async () => {
      for (let round = 0; round < 5; round++) {
        const old = aJob();
        const transaction = await withJob(old);
        const young = await stored(bench.second, aJob());
        assert.deepEqual(gidsOf(await claim(bench.second, { limit: 10 })), [young.gid]);
        await transaction.commit();
        assert.deepEqual(gidsOf(await claim(bench.second, { limit: 10 })), [old.gid]);
      }
    });

    it('dates a job by when it was stored, not by when its transaction began', async () => {
      const transaction = await withJob(aJob());
      const begun = await bench.now();
      let later = begun;
      while (later <= begun + 5) later = await bench.now();
      const job = aJob();
      await transaction.enlisted.create(job);
      await transaction.commit();
      const { createdAt, dueAt } = await bench.row(job.gid);
      assertBetween(createdAt.getTime(), later, later + 10_000);
      assertBetween(dueAt?.getTime(), later, later + 10_000);
    });

    it('lets one of two transactions that start a gid win', async () => {
      const gid = unique('rivals');
      const [first, second] = [aJob({ gid }), aJob({ gid })];
      const winner = await withJob(first);
      const loser = await bench.begin();
      const answer = loser.enlisted.create(second).catch(() => ({ outcome: 'refused by the database' }));
      await winner.commit();
      assert.match((await answer).outcome, /duplicate|locked|refused by the database/);
      await loser.rollback();
      assert.equal((await bench.row(gid)).instance, first.instance);
    });

    it('leaves a rolled-back row to a transaction that revives it: no purge takes it meanwhile', async () => {
      const { gid } = await aJobThatIs(bench, 'rolled-back');
      await bench.age(gid, 10 * 24 * 3_600_000);
      const transaction = await withJob(aJob({ gid }));
      const purging = bench.second.startPurge({ finishedMsAgo: 3_600_000, failedMsAgo: 3_600_000, limit: 10 });
      await isWaiting(purging);
      await transaction.commit();
      assert.deepEqual(gidsOf(await purging), []);
      assert.equal((await bench.row(gid)).status, 'submitted');
    });
  });
}
