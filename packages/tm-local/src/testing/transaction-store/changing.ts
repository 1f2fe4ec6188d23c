import assert from 'node:assert/strict';
import type { Change, ChangeAnswer, CreateJob, StoredStatus } from '../../transaction-store.js';
import { assertBetween, type Bench, describe, it } from './bench.js';
import { leavesAlone } from './creating.js';
import {
  aFullBatch,
  aJob,
  aJobThatIs,
  aPreparedJob,
  checkpoint,
  claim,
  claimed,
  createOne,
  fail,
  finish,
  gidsOf,
  keyOf,
  stored,
} from './rows.js';

const STATUSES: readonly StoredStatus[] = ['prepared', 'submitted', 'succeeded', 'rolled-back', 'failed', 'cancelled', 'purging'];
const nothingElse = { queue: undefined, dueInMs: 0, held: false, error: undefined } as const;

/** What the local TM does by compare-and-set. */
const VERBS = {
  submit: ({ gid, instance }: CreateJob): Change => ({
    ...nothingElse,
    gid,
    instance,
    from: ['prepared'],
    to: 'submitted',
    queue: 'default',
  }),
  abort: ({ gid, instance }: CreateJob): Change => ({ ...nothingElse, gid, instance, from: ['prepared'], to: 'rolled-back' }),
  cancel: ({ gid }: CreateJob): Change => ({ ...nothingElse, gid, instance: undefined, from: ['submitted', 'failed'], to: 'cancelled' }),
  redrive: ({ gid }: CreateJob): Change => ({ ...nothingElse, gid, instance: undefined, from: ['failed'], to: 'submitted' }),
} as const;

export function describeChanging(bench: Bench): void {
  const change = async (one: Change) => (await bench.store.change([one]))[0] as ChangeAnswer;

  describe('change', () => {
    for (const [verb, of] of Object.entries(VERBS)) {
      for (const status of STATUSES) {
        if (of(aJob()).from.includes(status)) {
          it(`${verb}: moves a ${status} job and its fence`, async () => {
            const job = await aJobThatIs(bench, status);
            const { lease } = await bench.row(job.gid);
            assert.deepEqual(await change(of(job)), { changed: true, lease: lease + 1 });
            const row = await bench.row(job.gid);
            assert.deepEqual(
              { status: row.status, lease: row.lease, held: row.held },
              { status: of(job).to, lease: lease + 1, held: false },
            );
            assert.equal(row.finishedAt === undefined, row.status === 'submitted');
            assert.equal(row.dueAt !== undefined, row.status === 'submitted');
          });
        } else {
          it(`${verb}: leaves a ${status} job alone and tells what it is`, async () => {
            const job = await aJobThatIs(bench, status);
            await leavesAlone(bench, job.gid, async () => {
              assert.deepEqual(await change(of(job)), { changed: false, found: { status, instance: job.instance } });
            });
          });
        }
      }

      it(`${verb}: creates nothing where there is nothing`, async () => {
        const job = aJob();
        assert.deepEqual(await change(of(job)), { changed: false, found: undefined });
        assert.equal(await bench.store.find(job.gid), undefined);
      });
    }

    for (const verb of ['submit', 'abort'] as const) {
      it(`${verb}: leaves the job of another instance alone`, async () => {
        const job = await aJobThatIs(bench, 'prepared');
        await leavesAlone(bench, job.gid, async () => {
          assert.deepEqual(await change({ ...VERBS[verb](job), instance: 'of somebody else' }), {
            changed: false,
            found: { status: 'prepared', instance: job.instance },
          });
        });
      });
    }

    it('submit: makes the job due in its queue, at its first step and attempt', async () => {
      const job = await aJobThatIs(bench, 'prepared');
      const from = await bench.now();
      await change(VERBS.submit(job));
      const to = await bench.now();
      const { queue, step, attempt, dueAt, db } = await bench.row(job.gid);
      assert.deepEqual({ queue, step, attempt, db }, { queue: 'default', step: 0, attempt: 1, db: job.db });
      assertBetween(dueAt?.getTime(), from, to);
      assert.deepEqual(gidsOf(await claim(bench.second)), [job.gid]);
    });

    it('submit: stores the job as claimed by the caller, who holds it by the lease answered', async () => {
      const job = await aJobThatIs(bench, 'prepared');
      const answer = await change({ ...VERBS.submit(job), held: true, dueInMs: 60_000 });
      assert.ok(answer.changed);
      assert.equal((await bench.row(job.gid)).held, true);
      assert.deepEqual(await claim(bench.second), []);
      const mine = { gid: job.gid, lease: answer.lease };
      assert.deepEqual(await bench.store.extend([mine], 60_000), new Set([job.gid]));
      assert.deepEqual(await bench.store.save([finish(mine)]), new Set([job.gid]));
    });

    it('submit: takes the job from a query-back that holds it, and its mark', async () => {
      const job = await stored(bench.store, aPreparedJob({ dueInMs: 0 }));
      const queryBack = await claimed(bench.second, job);
      await change(VERBS.submit(job));
      assert.deepEqual(await bench.second.save([{ ...checkpoint(queryBack, 0), status: 'rolled-back', giveUp: true }]), new Set());
      assert.equal((await claim(bench.store))[0]?.wasHeld, false);
    });

    it('cancel: reaches the worker that runs the job', async () => {
      const job = await stored(bench.store, aJob());
      const worker = await claimed(bench.second, job);
      await change({ ...VERBS.cancel(job), error: { name: 'Cancelled', message: 'by hand' } });
      await leavesAlone(bench, job.gid, async () => {
        assert.deepEqual(await bench.second.extend([keyOf(worker)], 60_000), new Set());
        assert.deepEqual(await bench.second.save([checkpoint(worker)]), new Set());
        assert.deepEqual(await bench.second.save([finish(worker)]), new Set());
      });
      assert.deepEqual((await bench.row(job.gid)).error, { name: 'Cancelled', message: 'by hand' });
    });

    it('redrive: puts the job back at the step that failed, with all its attempts, in the queue where it was', async () => {
      const job = await stored(bench.store, aJob({ queue: 'mail' }));
      const worker = await claimed(bench.store, job);
      await bench.store.save([{ ...fail(worker, 2), attempt: 20 }]);
      await change(VERBS.redrive(job));
      const row = await bench.row(job.gid);
      assert.deepEqual(
        { step: row.step, attempt: row.attempt, queue: row.queue, finishedAt: row.finishedAt, error: row.error },
        { step: 2, attempt: 1, queue: 'mail', finishedAt: undefined, error: { name: 'Error', message: 'boom' } },
      );
      assert.deepEqual(gidsOf(await claim(bench.second, { queue: 'mail' })), [job.gid]);
    });

    it('redrive: is not undone by the failure that is saved once more', async () => {
      const job = await stored(bench.store, aJob());
      const worker = await claimed(bench.store, job);
      await bench.store.save([fail(worker)]);
      await change(VERBS.redrive(job));
      await leavesAlone(bench, job.gid, async () => assert.deepEqual(await bench.store.save([fail(worker)]), new Set()));
    });

    it('abort: lets a new start of the gid revive the job at once', async () => {
      const job = await aJobThatIs(bench, 'prepared');
      await change(VERBS.abort(job));
      const again = aJob({ gid: job.gid });
      assert.equal((await createOne(bench.second, again)).outcome, 'stored');
      await leavesAlone(bench, job.gid, async () => {
        assert.deepEqual(await change(VERBS.submit(job)), { changed: false, found: { status: 'submitted', instance: again.instance } });
        assert.deepEqual(await change(VERBS.abort(job)), { changed: false, found: { status: 'submitted', instance: again.instance } });
      });
    });

    it('settle: decides for any instance', async () => {
      const job = await aJobThatIs(bench, 'prepared');
      assert.equal((await change({ ...VERBS.submit(job), instance: undefined })).changed, true);
    });

    it('lets one of a submit and an abort win', async () => {
      for (let round = 0; round < 10; round++) {
        const job = await aJobThatIs(bench, 'prepared');
        const [[submitted], [aborted]] = await Promise.all([
          bench.store.change([VERBS.submit(job)]),
          bench.second.change([VERBS.abort(job)]),
        ]);
        assert.notEqual(submitted?.changed, aborted?.changed);
        const { status } = await bench.row(job.gid);
        assert.equal(status, submitted?.changed ? 'submitted' : 'rolled-back');
        const loser = submitted?.changed ? aborted : submitted;
        assert.deepEqual(loser, { changed: false, found: { status, instance: job.instance } });
      }
    });

    it('answers each of a batch by itself, in the order of the batch', async () => {
      const prepared = await aJobThatIs(bench, 'prepared');
      const failed = await aJobThatIs(bench, 'failed');
      const submitted = await aJobThatIs(bench, 'submitted');
      const missing = aJob();
      const answers = await bench.store.change([
        VERBS.redrive(failed),
        VERBS.submit(missing),
        VERBS.abort(submitted),
        VERBS.submit(prepared),
      ]);
      assert.deepEqual(
        answers.map((answer) => (answer.changed ? 'changed' : (answer.found?.status ?? 'nothing'))),
        ['changed', 'nothing', 'submitted', 'changed'],
      );
      assert.deepEqual(await bench.store.change([]), []);
    });

    it('submits a full batch at once', async () => {
      const jobs = aFullBatch(bench.store, aPreparedJob);
      await bench.store.create(jobs);
      const answers = await bench.store.change(jobs.map(VERBS.submit));
      assert.deepEqual(
        answers,
        jobs.map(({ lease }) => ({ changed: true, lease: lease + 1 })),
      );
    });
  });
}
