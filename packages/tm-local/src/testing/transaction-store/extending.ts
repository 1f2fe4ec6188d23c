import assert from 'node:assert/strict';
import { assertBetween, type Bench, describe, it } from './bench.js';
import { leavesAlone } from './creating.js';
import { aFullBatch, aJob, checkpoint, claim, claimed, finish, gidsOf, HOUR_MS, handBack, keyOf, retry, stored } from './rows.js';

export function describeExtending(bench: Bench): void {
  const held = async () => claimed(bench.store, await stored(bench.store, aJob()));

  describe('extend', () => {
    it('moves the end of my lease to the given time from now, and nothing else', async () => {
      const job = await held();
      await bench.age(job.gid, 50_000);
      const { dueAt: _, ...before } = await bench.row(job.gid);
      const from = await bench.now();
      assert.deepEqual(await bench.store.extend([keyOf(job)], 90_000), new Set([job.gid]));
      const to = await bench.now();
      const { dueAt, ...after } = await bench.row(job.gid);
      assert.deepEqual(after, before);
      assertBetween(dueAt?.getTime(), from + 90_000, to + 90_000);
    });

    it('keeps a job that was about to become due', async () => {
      const job = await held();
      await bench.age(job.gid, HOUR_MS);
      await bench.store.extend([keyOf(job)], 60_000);
      assert.deepEqual(await claim(bench.second), []);
    });

    it('leaves alone what somebody else took over, what I gave up and what is finished', async () => {
      const lost = await held();
      await bench.age(lost.gid, HOUR_MS);
      await claim(bench.second);
      const retried = await held();
      await bench.store.save([retry(retried)]);
      const finished = await held();
      await bench.store.save([finish(finished)]);
      const cancelled = await held();
      await bench.store.change([
        {
          gid: cancelled.gid,
          instance: undefined,
          from: ['submitted'],
          to: 'cancelled',
          queue: undefined,
          dueInMs: 0,
          held: false,
          error: undefined,
        },
      ]);
      const handedBack = await held();
      await bench.store.save([handBack(handedBack)]);

      for (const job of [lost, retried, finished, cancelled, handedBack]) {
        await leavesAlone(bench, job.gid, async () => assert.deepEqual(await bench.store.extend([keyOf(job)], 90_000), new Set()));
      }
    });

    it('goes on after a checkpoint', async () => {
      const job = await held();
      await bench.store.save([checkpoint(job)]);
      assert.deepEqual(await bench.store.extend([keyOf(job)], 90_000), new Set([job.gid]));
    });

    it('answers each of a batch by itself', async () => {
      await bench.store.create(aFullBatch(bench.store));
      const jobs = [...(await claim(bench.store))].sort((a, b) => (a.gid < b.gid ? -1 : 1));
      const lost = new Set(jobs.filter((_, i) => i % 100 === 7));
      const answer = await bench.store.extend(
        jobs.map((job) => (lost.has(job) ? { gid: job.gid, lease: job.lease - 1 } : keyOf(job))),
        90_000,
      );
      assert.deepEqual([...answer].sort(), gidsOf(jobs.filter((job) => !lost.has(job))));
    });

    it('takes an empty batch, and strangers', async () => {
      assert.deepEqual(await bench.store.extend([], 90_000), new Set());
      assert.deepEqual(await bench.store.extend([{ gid: 'nobody', lease: 1 }], 90_000), new Set());
    });
  });
}
