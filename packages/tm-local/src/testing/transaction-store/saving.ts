import assert from 'node:assert/strict';
import type { ClaimedJob, Save, StoredJob } from '../../transaction-store.js';
import { assertBetween, type Bench, describe, it } from './bench.js';
import { leavesAlone } from './creating.js';
import {
  aFullBatch,
  aJob,
  aPreparedJob,
  askLater,
  checkpoint,
  claim,
  claimed,
  countAttempt,
  fail,
  finish,
  gidsOf,
  HOUR_MS,
  handBack,
  keyOf,
  moveToQueue,
  retry,
  stored,
  verdict,
} from './rows.js';

/** A kind of write, what it makes of a claimed row, and what becomes of `due_at`: it stays, or is so many ms from now, or is gone. */
interface Kind {
  readonly name: string;
  readonly of: 'submitted' | 'prepared';
  readonly save: (job: ClaimedJob) => Save;
  readonly changes: (job: ClaimedJob) => Partial<StoredJob>;
  readonly due: 'stays' | 'gone' | number;
}

const boom = { name: 'Error', message: 'boom' };
const givenUp = ({ lease }: ClaimedJob) => ({ held: false, lease: lease + 1 });

const KINDS: readonly Kind[] = [
  { name: 'a checkpoint', of: 'submitted', save: (job) => checkpoint(job), changes: () => ({ step: 1 }), due: 'stays' },
  { name: 'a counted attempt', of: 'submitted', save: (job) => countAttempt(job), changes: () => ({ attempt: 2 }), due: 'stays' },
  {
    name: 'a retry',
    of: 'submitted',
    save: (job) => retry(job),
    changes: (job) => ({ ...givenUp(job), attempt: 2, error: boom }),
    due: 60_000,
  },
  { name: 'a hand-back', of: 'submitted', save: (job) => handBack(job), changes: givenUp, due: 0 },
  {
    name: 'a checkpoint into a queue of others',
    of: 'submitted',
    save: (job) => moveToQueue(job, 'other'),
    changes: (job) => ({ ...givenUp(job), step: 1, queue: 'other' }),
    due: 0,
  },
  {
    name: 'the end of a job',
    of: 'submitted',
    save: (job) => finish(job),
    changes: (job) => ({ ...givenUp(job), status: 'succeeded', step: 3 }),
    due: 'gone',
  },
  {
    name: 'a failure for good',
    of: 'submitted',
    save: (job) => fail(job),
    changes: (job) => ({ ...givenUp(job), status: 'failed', error: boom }),
    due: 'gone',
  },
  {
    name: 'the verdict "submitted", gone on with',
    of: 'prepared',
    save: (job) => verdict(job, 'submitted', false),
    changes: () => ({ status: 'submitted', queue: 'default' }),
    due: 'stays',
  },
  {
    name: 'the verdict "submitted", given up',
    of: 'prepared',
    save: (job) => verdict(job, 'submitted', true),
    changes: (job) => ({ ...givenUp(job), status: 'submitted', queue: 'default' }),
    due: 0,
  },
  {
    name: 'the verdict "rolled-back"',
    of: 'prepared',
    save: (job) => verdict(job, 'rolled-back', true),
    changes: (job) => ({ ...givenUp(job), status: 'rolled-back' }),
    due: 'gone',
  },
  { name: 'a query-back without an answer', of: 'prepared', save: (job) => askLater(job), changes: givenUp, due: 20_000 },
];

export function describeSaving(bench: Bench): void {
  const save = (...saves: Save[]) => bench.store.save(saves);
  const held = async (of: Kind['of'] = 'submitted') =>
    claimed(bench.store, await stored(bench.store, of === 'submitted' ? aJob() : aPreparedJob({ dueInMs: 0 })));

  describe('save', () => {
    for (const kind of KINDS) {
      it(`writes ${kind.name}: that and nothing else`, async () => {
        const job = await held(kind.of);
        const { dueAt: dueBefore, finishedAt: _, ...before } = await bench.row(job.gid);
        const from = await bench.now();
        assert.deepEqual(await save(kind.save(job)), new Set([job.gid]));
        const to = await bench.now();

        const { dueAt, finishedAt, ...row } = await bench.second.find(job.gid).then((found) => found as StoredJob);
        assert.deepEqual(row, { ...before, ...kind.changes(job) });
        if (kind.due === 'stays') assert.deepEqual(dueAt, dueBefore);
        else if (kind.due === 'gone') assert.equal(dueAt, undefined);
        else assertBetween(dueAt?.getTime(), from + kind.due, to + kind.due);
        if (kind.due === 'gone') assertBetween(finishedAt?.getTime(), from, to);
        else assert.equal(finishedAt, undefined);
      });

      it(`does not write ${kind.name} under a lease that somebody else took over`, async () => {
        const job = await held(kind.of);
        await bench.age(job.gid, HOUR_MS);
        await claim(bench.second, { queue: job.queue });
        await leavesAlone(bench, job.gid, async () => assert.deepEqual(await save(kind.save(job)), new Set()));
      });

      const movesFence = kind.changes({ lease: 0 } as ClaimedJob).lease !== undefined;
      it(`${movesFence ? 'is done with a job after' : 'may repeat'} ${kind.name}`, async () => {
        const job = await held(kind.of);
        await save(kind.save(job));
        const expected = new Set(movesFence ? [] : [job.gid]);
        await leavesAlone(bench, job.gid, async () => assert.deepEqual(await save(kind.save(job)), expected));
        await leavesAlone(bench, job.gid, async () => {
          if (movesFence) assert.deepEqual(await bench.store.extend([keyOf(job)], 60_000), new Set());
        });
      });
    }

    it('goes through a whole job under one lease', async () => {
      const job = await held();
      for (const write of [checkpoint(job, 1), countAttempt(job, 2, 1), checkpoint(job, 2), finish(job)]) {
        assert.deepEqual(await save(write), new Set([job.gid]));
      }
      assert.equal((await bench.row(job.gid)).status, 'succeeded');
    });

    it('does not go back a step, whatever lands late', async () => {
      const job = await held();
      await save(checkpoint(job, 2));
      for (const late of [
        checkpoint(job, 1),
        countAttempt(job, 5, 0),
        countAttempt(job, 5, 1),
        retry(job, 2, 1),
        handBack(job, 1, 0),
        fail(job, 1),
      ]) {
        await leavesAlone(bench, job.gid, async () => assert.deepEqual(await save(late), new Set()));
      }
    });

    it('does not undo a counted attempt by a checkpoint or a count that lands late', async () => {
      const job = await held();
      await save(checkpoint(job, 1));
      await save(countAttempt(job, 3, 1));
      for (const late of [checkpoint(job, 1), countAttempt(job, 2, 1)]) {
        await leavesAlone(bench, job.gid, async () => assert.deepEqual(await save(late), new Set()));
      }
    });

    it('begins a later step with its first attempt, however many the step before took', async () => {
      const job = await held();
      await save(countAttempt(job, 9, 0));
      assert.deepEqual(await save(checkpoint(job, 1)), new Set([job.gid]));
      const { step, attempt } = await bench.row(job.gid);
      assert.deepEqual({ step, attempt }, { step: 1, attempt: 1 });
    });

    it('lets a hand-back lower the attempt of its step: it writes the number of the attempt that it ended', async () => {
      const job = await held();
      await save(countAttempt(job, 3, 0));
      assert.deepEqual(await save(handBack(job, 2, 0)), new Set([job.gid]));
      assert.equal((await bench.row(job.gid)).attempt, 2);
    });

    it('keeps the last error until there is a newer one', async () => {
      const first = await held();
      await save({ ...retry(first), dueInMs: 0 });
      const second = await claimed(bench.store, first);
      await save(checkpoint(second));
      assert.deepEqual((await bench.row(first.gid)).error, boom);
      await save({ ...fail(second, 1), error: { name: 'TypeError', message: 'worse' } });
      assert.deepEqual((await bench.row(first.gid)).error, { name: 'TypeError', message: 'worse' });
    });

    it('keeps the error of hostile text, or what its database can hold of it', async () => {
      const job = await held();
      const message = `it's "quoted" \\ % $1\n🚚 ${'é'.repeat(20_000)}`;
      await save({ ...fail(job), error: { name: `O'Error`, message } });
      assert.deepEqual((await bench.row(job.gid)).error, { name: `O'Error`, message });

      const other = await held();
      assert.deepEqual(await save({ ...fail(other), error: { name: 'Error', message: 'before\u0000after\ud800' } }), new Set([other.gid]));
      assert.match((await bench.row(other.gid)).error?.message ?? '', /^before/);
    });

    it('writes every kind in one batch, and names exactly those that it wrote', async () => {
      await bench.store.create(Array.from({ length: 9 }, () => aJob()));
      const jobs = [...(await claim(bench.store))].sort((a, b) => (a.gid < b.gid ? -1 : 1));
      const lost = [jobs[1], jobs[4], jobs[6]] as ClaimedJob[];
      for (const { gid } of lost) await bench.age(gid, HOUR_MS);
      assert.deepEqual(gidsOf(await claim(bench.second)), gidsOf(lost));

      const kinds = [
        checkpoint,
        finish,
        retry,
        countAttempt,
        checkpoint,
        handBack,
        fail,
        (job: ClaimedJob) => moveToQueue(job, 'other'),
        finish,
      ];
      const before = await Promise.all(jobs.map(({ gid }) => bench.row(gid)));
      const answer = await save(...jobs.map((job, i) => kinds[i]?.(job) as Save));

      const written = jobs.filter((job) => !lost.includes(job));
      assert.deepEqual(answer, new Set(written.map(({ gid }) => gid)));
      const after = await Promise.all(jobs.map(({ gid }) => bench.row(gid)));
      for (const [i, job] of jobs.entries()) {
        if (lost.includes(job)) assert.deepEqual(after[i], before[i]);
        else assert.notDeepEqual(after[i], before[i]);
      }
      assert.deepEqual(
        after.map(({ status, step, attempt, queue, held: isHeld }) => [status, step, attempt, queue, isHeld].join(' ')),
        [
          'submitted 1 1 default true',
          'submitted 0 1 default true',
          'submitted 0 2 default false',
          'submitted 0 2 default true',
          'submitted 0 1 default true',
          'submitted 0 1 default false',
          'submitted 0 1 default true',
          'submitted 1 1 other false',
          'succeeded 3 1 default false',
        ],
      );
    });

    it('takes an empty batch, a batch of strangers, and a full one', async () => {
      assert.deepEqual(await save(), new Set());
      assert.deepEqual(await save(checkpoint({ gid: 'nobody', lease: 1 })), new Set());
      await bench.store.create(aFullBatch(bench.store));
      const jobs = [...(await claim(bench.store))].sort((a, b) => (a.gid < b.gid ? -1 : 1));
      const finished = jobs.slice(0, 100);
      const answer = await save(...jobs.map((job, i) => (i < 100 ? finish(job) : checkpoint(job))));
      assert.deepEqual([...answer].sort(), gidsOf(jobs));
      const { submitted, succeeded } = await bench.store.stats();
      assert.deepEqual({ submitted, succeeded }, { submitted: jobs.length - finished.length, succeeded: finished.length });
    });

    it('lets only one of two holders write, the later one', async () => {
      const job = await held();
      await bench.age(job.gid, HOUR_MS);
      const later = await claimed(bench.second, job);
      const [old, young] = await Promise.all([bench.store.save([finish(job)]), bench.second.save([checkpoint(later)])]);
      assert.deepEqual([old, young], [new Set(), new Set([job.gid])]);
    });
  });
}
