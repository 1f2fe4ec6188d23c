import assert from 'node:assert/strict';
import type { JobStatus } from '@stepping/core';
import type { CreateJob, StoredStatus } from '../../transaction-store.js';
import { assertBetween, type Bench, describe, it } from './bench.js';
import { aFullBatch, aJob, aJobThatIs, aPreparedJob, claim, createdAtLast, createOne, gidsOf, HOUR_MS, stored, unique } from './rows.js';

export function describeCreating(bench: Bench): void {
  describe('create', () => {
    describeAnswers(bench, 'create', (job) => createOne(bench.second, job));
    describeAnswers(bench, 'createAlone', (job) => bench.second.createAlone(job, 1_000));

    it('keeps everything that it was given', async () => {
      const job = aPreparedJob({
        tenant: 'acme',
        db: { provider: 'typeorm', name: 'orders', tenant: 'acme' },
        queue: '~db/typeorm/orders',
        held: true,
        dueInMs: 12_345,
      });
      const before = await bench.now();
      assert.deepEqual(await createOne(bench.store, job), { outcome: 'stored', lease: job.lease });
      const after = await bench.now();

      const { createdAt, dueAt, ...row } = await bench.row(job.gid);
      assert.deepEqual(row, {
        gid: job.gid,
        instance: job.instance,
        status: 'prepared',
        queue: job.queue,
        step: 0,
        attempt: 1,
        lease: job.lease,
        held: true,
        tenant: 'acme',
        db: job.db,
        steps: job.steps,
        finishedAt: undefined,
        error: undefined,
      });
      assertBetween(createdAt.getTime(), before, after);
      assertBetween(dueAt?.getTime(), createdAt.getTime() + 12_345, createdAt.getTime() + 12_345);
    });

    it('keeps a job without tenant and without database as such', async () => {
      const job = await stored(bench.store, aJob());
      const { tenant, db, held, status } = await bench.row(job.gid);
      assert.deepEqual({ tenant, db, held, status }, { tenant: undefined, db: undefined, held: false, status: 'submitted' });
    });

    it('is seen at once by every other process', async () => {
      const job = await stored(bench.store, aJob());
      assert.equal((await bench.second.find(job.gid))?.instance, job.instance);
      assert.deepEqual(gidsOf(await claim(bench.second)), [job.gid]);
    });

    it('answers each job of a batch by itself, in the order of the batch', async () => {
      const finished = await aJobThatIs(bench, 'succeeded');
      const prepared = await aJobThatIs(bench, 'prepared');
      const rolledBack = await aJobThatIs(bench, 'rolled-back');
      const mine = await stored(bench.store, aJob());
      const batch = [aJob({ gid: finished.gid }), aJob(), aJob({ gid: prepared.gid }), mine, aJob({ gid: rolledBack.gid }), aJob()];

      const answers = await bench.store.create(batch);

      assert.deepEqual(
        answers.map((answer) => ('status' in answer ? `${answer.outcome} ${answer.status}` : answer.outcome)),
        ['duplicate succeeded', 'stored', 'in-doubt', 'repeated submitted', 'stored', 'stored'],
      );
      for (const job of [batch[1], batch[4], batch[5]] as CreateJob[]) assert.equal((await bench.row(job.gid)).instance, job.instance);
    });

    it('takes an empty batch, and a full one', async () => {
      assert.deepEqual(await bench.store.create([]), []);
      const jobs = aFullBatch(bench.store);
      const answers = await bench.store.create(jobs);
      assert.deepEqual(
        answers,
        jobs.map(({ lease }) => ({ outcome: 'stored', lease })),
      );
      assert.equal((await bench.store.stats()).submitted, jobs.length);
    });

    it('lets one of many rivals for a gid win, and tells the others of it', async () => {
      for (let round = 0; round < 5; round++) {
        const gid = unique('rivals');
        const rivals = Array.from({ length: 16 }, () => aJob({ gid }));
        const answers = await Promise.all(rivals.map((job, i) => createdAtLast(i % 2 ? bench.store : bench.second, job)));
        const winners = rivals.filter((_, i) => answers[i]?.outcome === 'stored');
        assert.equal(winners.length, 1);
        assert.equal(answers.filter(({ outcome }) => outcome === 'duplicate').length, 15);
        assert.equal((await bench.row(gid)).instance, winners[0]?.instance);
      }
    });

    it('lets one of many rivals revive a rolled-back gid', async () => {
      const { gid } = await aJobThatIs(bench, 'rolled-back');
      const rivals = Array.from({ length: 8 }, () => aJob({ gid }));
      const answers = await Promise.all(rivals.map((job, i) => createdAtLast(i % 2 ? bench.store : bench.second, job)));
      const winners = rivals.filter((_, i) => answers[i]?.outcome === 'stored');
      assert.equal(winners.length, 1);
      assert.equal((await bench.row(gid)).instance, winners[0]?.instance);
    });

    it('stores a call that is repeated side by side once', async () => {
      const job = aJob();
      const answers = await Promise.all([0, 1, 2, 3].map((i) => createdAtLast(i % 2 ? bench.store : bench.second, job)));
      assert.deepEqual(answers.map(({ outcome }) => outcome).sort(), ['repeated', 'repeated', 'repeated', 'stored']);
    });

    it('takes every gid for what it is, letter by letter', async () => {
      const gids = [
        'NULL',
        'null',
        '-',
        '_',
        '__proto__',
        '0',
        '1e3',
        'true',
        '--',
        'x'.repeat(128),
        `${'x'.repeat(127)}y`,
        'case-A',
        'case-a',
        'a_b',
        'a-b',
      ];
      const answers = await bench.store.create(gids.map((gid) => aJob({ gid })));
      assert.deepEqual(new Set(answers.map(({ outcome }) => outcome)), new Set(['stored']));
      for (const gid of gids) assert.equal((await bench.row(gid)).gid, gid);
      assert.deepEqual(gidsOf(await claim(bench.store)), [...gids].sort());
    });

    it('gives back hostile text letter by letter', async () => {
      const queue = `it's a "queue" \\ % _ ; -- $1 :x ? ☃ 🚚`;
      const tenant = `'; drop table jobs; -- \\' \u00e9 e\u0301 🏢`;
      const args = {
        quotes: `'"\`\\`,
        lines: '\r\n\t',
        emoji: '🧾👩‍👩‍👧',
        nul: '\u0000',
        lone: '\ud800',
        text: ' $1 ?',
        deep: [[{ x: [] }]],
      };
      const job = await stored(
        bench.store,
        aJob({ queue, tenant, steps: JSON.stringify({ v: 1, steps: [{ n: `o'neil "🚚"`, a: args }] }) }),
      );

      const row = await bench.row(job.gid);
      assert.deepEqual({ queue: row.queue, tenant: row.tenant, steps: row.steps }, { queue, tenant, steps: job.steps });
      assert.equal((await bench.store.nextDueInMs([queue])).get(queue), 0);
      const [claimedJob] = await claim(bench.store, { queue });
      assert.deepEqual({ tenant: claimedJob?.tenant, steps: claimedJob?.steps }, { tenant, steps: job.steps });
    });

    it('keeps a payload of four megabytes', async () => {
      const job = await stored(
        bench.store,
        aJob({ steps: JSON.stringify({ v: 1, steps: [{ n: 'big', a: 'é'.repeat(2 * 1_024 * 1_024) }] }) }),
      );
      assert.equal((await bench.row(job.gid)).steps.length, job.steps.length);
    });

    it('counts fencing numbers on beyond 32 and 48 bits', async () => {
      const job = await stored(bench.store, aJob({ lease: 2 ** 48 - 1 }));
      for (let n = 1; n <= 3; n++) {
        await bench.age(job.gid, HOUR_MS);
        const [claimedJob] = await claim(bench.store);
        assert.equal(claimedJob?.lease, 2 ** 48 - 1 + n);
      }
      assert.deepEqual(await bench.store.extend([{ gid: job.gid, lease: 2 ** 48 + 2 }], 90_000), new Set([job.gid]));
    });
  });
}

/** The table of R4, through one way of creating. */
export function describeAnswers(bench: Bench, way: string, create: (job: CreateJob) => Promise<unknown>): void {
  const settled: readonly JobStatus[] = ['submitted', 'succeeded', 'failed', 'cancelled'];

  describe(`the answer of ${way}, by the row found`, () => {
    it('none: stored', async () => {
      const job = aJob();
      assert.deepEqual(await create(job), { outcome: 'stored', lease: job.lease });
      assert.equal((await bench.row(job.gid)).instance, job.instance);
    });

    for (const status of ['prepared', ...settled] as const) {
      it(`${status}, my instance: a repeat of my own call`, async () => {
        const job = await aJobThatIs(bench, status);
        const { lease } = await bench.row(job.gid);
        await leavesAlone(bench, job.gid, async () => assert.deepEqual(await create(job), { outcome: 'repeated', status, lease }));
      });
    }

    for (const status of settled) {
      it(`${status}, another instance: a duplicate`, async () => {
        const { gid } = await aJobThatIs(bench, status);
        await leavesAlone(bench, gid, async () => assert.deepEqual(await create(aJob({ gid })), { outcome: 'duplicate', status }));
        await leavesAlone(bench, gid, async () => assert.deepEqual(await create(aPreparedJob({ gid })), { outcome: 'duplicate', status }));
      });
    }

    it('prepared, another instance: in doubt', async () => {
      const { gid } = await aJobThatIs(bench, 'prepared');
      await leavesAlone(bench, gid, async () => assert.deepEqual(await create(aJob({ gid })), { outcome: 'in-doubt' }));
      await leavesAlone(bench, gid, async () => assert.deepEqual(await create(aPreparedJob({ gid })), { outcome: 'in-doubt' }));
    });

    it('purging, any instance: in doubt', async () => {
      const job = await aJobThatIs(bench, 'purging');
      await leavesAlone(bench, job.gid, async () => assert.deepEqual(await create(aJob({ gid: job.gid })), { outcome: 'in-doubt' }));
      await leavesAlone(bench, job.gid, async () => assert.deepEqual(await create(job), { outcome: 'in-doubt' }));
    });

    for (const whose of ['my', 'another'] as const) {
      it(`rolled-back, ${whose} instance: revived, with nothing left of its old life but the count of its fence`, async () => {
        const old = await aJobThatIs(bench, 'rolled-back', { tenant: 'old' });
        const { lease } = await bench.row(old.gid);
        await bench.age(old.gid, HOUR_MS);
        const job = aJob({
          gid: old.gid,
          queue: 'revived',
          steps: '{"v":1,"steps":[{"n":"other"}]}',
          lease: 17,
          ...(whose === 'my' && { instance: old.instance }),
        });
        const before = await bench.now();

        assert.deepEqual(await create(job), { outcome: 'stored', lease: lease + 1 });

        const after = await bench.now();
        const { createdAt, dueAt, ...row } = await bench.row(job.gid);
        assert.deepEqual(row, {
          gid: job.gid,
          instance: job.instance,
          status: 'submitted',
          queue: 'revived',
          step: 0,
          attempt: 1,
          lease: lease + 1,
          held: false,
          tenant: undefined,
          db: undefined,
          steps: job.steps,
          finishedAt: undefined,
          error: undefined,
        });
        assertBetween(createdAt.getTime(), before, after);
        assert.deepEqual(dueAt, createdAt);
        assert.deepEqual(gidsOf(await claim(bench.store, { queue: 'revived' })), [job.gid]);
      });
    }

    it('rolled-back: revived as a prepared job, held if it says so', async () => {
      const { gid } = await aJobThatIs(bench, 'rolled-back');
      const job = aPreparedJob({ gid, held: true, dueInMs: 5_000 });
      await create(job);
      const row = await bench.row(gid);
      assert.deepEqual(
        { status: row.status, held: row.held, queue: row.queue, db: row.db, instance: row.instance },
        { status: 'prepared', held: true, queue: job.queue, db: job.db, instance: job.instance },
      );
    });
  });
}

/** Fails if `work` changes anything of the row. */
export async function leavesAlone(bench: Bench, gid: string, work: () => Promise<unknown>): Promise<void> {
  const before: { status: StoredStatus } = await bench.row(gid);
  await work();
  assert.deepEqual(await bench.row(gid), before);
}
