import assert from 'node:assert/strict';
import type { StoreFilter } from '../../transaction-store.js';
import { assertBetween, type Bench, describe, it, until } from './bench.js';
import { aJob, aJobThatIs, aPreparedJob, checkpoint, claimed, gidsOf, HOUR_MS, stored } from './rows.js';

export function describeOperating(bench: Bench): void {
  const list = async (filter: Partial<StoreFilter> = {}) => (await bench.second.list({ limit: 100, ...filter })).map(({ gid }) => gid);

  describe('find', () => {
    it('finds nothing where there is nothing', async () => {
      assert.equal(await bench.store.find('nobody'), undefined);
    });

    it('finds a job that is being purged as such', async () => {
      const { gid } = await aJobThatIs(bench, 'purging');
      assert.equal((await bench.store.find(gid))?.status, 'purging');
    });
  });

  describe('list', () => {
    it('lists in the order of gids, byte by byte, page by page', async () => {
      const gids = ['B', 'a', 'A', '-', '_', 'b', '1', '10', '2', 'aa'];
      await bench.store.create(gids.map((gid) => aJob({ gid })));
      const sorted = ['-', '1', '10', '2', 'A', 'B', '_', 'a', 'aa', 'b'];
      assert.deepEqual(await list(), sorted);

      const pages: string[][] = [];
      for (let cursor: string | undefined; pages.length < 5; cursor = pages.at(-1)?.at(-1)) {
        const page = await list({ limit: 4, cursor });
        if (page.length === 0) break;
        pages.push(page);
      }
      assert.deepEqual(
        pages.map(({ length }) => length),
        [4, 4, 2],
      );
      assert.deepEqual(pages.flat(), sorted);
    });

    it('gives the same rows as find', async () => {
      const job = await aJobThatIs(bench, 'failed', { tenant: 'acme' });
      assert.deepEqual(await bench.store.list({ limit: 1 }), [await bench.row(job.gid)]);
    });

    it('filters by one status and by several, and never shows a job that is being purged', async () => {
      const gids: Record<string, string> = {};
      for (const status of ['prepared', 'submitted', 'succeeded', 'rolled-back', 'failed', 'cancelled', 'purging'] as const) {
        gids[status] = (await aJobThatIs(bench, status)).gid;
      }
      assert.deepEqual(await list({ status: ['failed'] }), [gids.failed]);
      assert.deepEqual(new Set(await list({ status: ['prepared', 'cancelled'] })), new Set([gids.prepared, gids.cancelled]));
      assert.equal((await list()).length, 6);
      assert.equal((await list()).includes(gids.purging as string), false);
      assert.deepEqual(await list({ status: [] }), []);
    });

    it('filters by tenant, to the letter', async () => {
      const jobs = await Promise.all(['acme', 'Acme', `o'neil % _`, undefined].map((tenant) => stored(bench.store, aJob({ tenant }))));
      assert.deepEqual(await list({ tenant: 'acme' }), [jobs[0]?.gid]);
      assert.deepEqual(await list({ tenant: `o'neil % _` }), [jobs[2]?.gid]);
      assert.deepEqual(await list({ tenant: '%' }), []);
    });

    it('filters by the next step, which for a failed job is the one that failed', async () => {
      const atFirst = await stored(bench.store, aJob({ queue: 'a' }));
      const atSecond = await stored(bench.store, aJob({ queue: 'b' }));
      await bench.store.save([checkpoint(await claimed(bench.store, atSecond))]);
      const failedFirst = await aJobThatIs(bench, 'failed');
      const finished = await aJobThatIs(bench, 'succeeded');

      assert.deepEqual(new Set(await list({ step: 'first' })), new Set([atFirst.gid, failedFirst.gid]));
      assert.deepEqual(await list({ step: 'second' }), [atSecond.gid]);
      assert.deepEqual(await list({ step: 'third' }), []);
      assert.equal((await list()).includes(finished.gid), true);
    });

    it('fills a page also when few rows fit the filter', async () => {
      await bench.store.create(
        Array.from({ length: 250 }, (_, i) => aJob(i % 80 === 50 ? { steps: '{"v":1,"steps":[{"n":"rare"}]}' } : {})),
      );
      const first = await list({ step: 'rare', limit: 2 });
      assert.equal(first.length, 2);
      assert.equal((await list({ step: 'rare', limit: 2, cursor: first[1] })).length, 1);
    });

    it('filters by when a job was created', async () => {
      const [old, middle, young] = [aJob(), aJob(), aJob()];
      await bench.store.create([old, middle, young]);
      await bench.age(old.gid, 3 * HOUR_MS);
      await bench.age(middle.gid, 2 * HOUR_MS);
      const now = (await bench.row(young.gid)).createdAt.getTime();
      const hoursAgo = (hours: number) => new Date(now - hours * HOUR_MS);
      assert.deepEqual(new Set(await list({ createdAfter: hoursAgo(2.5) })), new Set([middle.gid, young.gid]));
      assert.deepEqual(new Set(await list({ createdBefore: hoursAgo(1) })), new Set([old.gid, middle.gid]));
      assert.deepEqual(await list({ createdAfter: hoursAgo(2.5), createdBefore: hoursAgo(1) }), [middle.gid]);
    });

    it('puts all filters together', async () => {
      const job = await aJobThatIs(bench, 'failed', { tenant: 'acme' });
      await aJobThatIs(bench, 'failed', { tenant: 'other' });
      await aJobThatIs(bench, 'cancelled', { tenant: 'acme' });
      assert.deepEqual(await list({ status: ['failed', 'submitted'], tenant: 'acme', step: 'first', cursor: '-' }), [job.gid]);
    });
  });

  describe('stats', () => {
    it('counts nothing in an empty store', async () => {
      const none = { prepared: 0, submitted: 0, succeeded: 0, 'rolled-back': 0, failed: 0, cancelled: 0 };
      assert.deepEqual(await bench.store.stats(), { ...none, oldestDueMs: 0, oldestPreparedMs: 0 });
    });

    it('counts by status, without those being purged', async () => {
      for (const status of ['prepared', 'submitted', 'succeeded', 'rolled-back', 'failed', 'cancelled', 'purging'] as const)
        await aJobThatIs(bench, status);
      await aJobThatIs(bench, 'failed');
      const { oldestDueMs: _, oldestPreparedMs: __, ...counts } = await bench.second.stats();
      assert.deepEqual(counts, { prepared: 1, submitted: 1, succeeded: 1, 'rolled-back': 1, failed: 2, cancelled: 1 });
    });

    it('tells how long the most overdue job has been due, and how old the oldest prepared one is', async () => {
      const [due, prepared] = [aJob(), aPreparedJob({ dueInMs: 24 * HOUR_MS })];
      await bench.store.create([due, aJob(), aJob({ dueInMs: HOUR_MS }), prepared, aPreparedJob()]);
      await bench.age(due.gid, 2 * HOUR_MS);
      await bench.age(prepared.gid, 3 * HOUR_MS);
      const { oldestDueMs, oldestPreparedMs } = await bench.store.stats();
      assertBetween(oldestDueMs, 2 * HOUR_MS, 2 * HOUR_MS + 20_000);
      assertBetween(oldestPreparedMs, 3 * HOUR_MS, 3 * HOUR_MS + 20_000);
    });

    it('does not call a job overdue whose lease runs, nor a prepared one', async () => {
      const job = await stored(bench.store, aJob());
      await bench.age(job.gid, HOUR_MS);
      await claimed(bench.store, job);
      const prepared = await stored(bench.store, aPreparedJob());
      await bench.age(prepared.gid, HOUR_MS);
      assert.equal((await bench.store.stats()).oldestDueMs, 0);
    });
  });

  describe('the store as a whole', () => {
    it('migrates as often as it is told to, and keeps its jobs', async () => {
      const job = await stored(bench.store, aJob());
      await bench.store.migrate();
      await Promise.all([bench.store.migrate(), bench.second.migrate()]);
      assert.equal((await bench.row(job.gid)).instance, job.instance);
      await stored(bench.second, aJob());
    });

    it('hears from other processes that jobs are due, if it has hints, until it listens no more', async () => {
      if (!bench.store.onDue) return;
      let heard = 0;
      const unsubscribe = bench.store.onDue(() => heard++);
      // A hint may be lost, never all of them. Some stores are told to hint, others see by themselves what was stored.
      await until('a hint', async () => {
        await stored(bench.second, aJob());
        bench.second.hintDue?.();
        return heard > 0 ? true : undefined;
      });
      unsubscribe();
      unsubscribe();
    });

    it('answers each of many calls at once as it should', async () => {
      const jobs = Array.from({ length: 60 }, () => aJob());
      const answers = await Promise.all(jobs.map((job, i) => (i % 2 ? bench.store : bench.second).create([job])));
      assert.equal(answers.flat().filter(({ outcome }) => outcome === 'stored').length, 60);
      const found = await Promise.all(jobs.map(({ gid }) => bench.store.find(gid)));
      assert.deepEqual(gidsOf(found.map((row) => ({ gid: row?.gid ?? 'nobody' }))), gidsOf(jobs));
    });
  });
}
