import assert from 'node:assert/strict';
import { it } from '@jest/globals';
import { audit, gids } from './audit.js';
import type { FaultDatabase } from './databases.js';
import { Run } from './run.js';
import { ORDINARY, PLAIN } from './steps.js';
import { until } from './until.js';

const GOOD = 100;
const POISONED = 5;

/** Jobs that nobody can run, store or end as they are. */
export function describePoison(database: FaultDatabase): void {
  it('in front of good ones holds none of them up, and can be seen and cancelled', async () => {
    const run = await Run.open(database);
    const { start, stepping } = run.observer;
    // The most overdue ones, all of them.
    for (const gid of gids('unreadable', POISONED)) {
      await start(gid, PLAIN);
      await run.books.spoil(gid);
    }
    for (const gid of gids('unknown', POISONED)) await start(gid, ['outlives', 'send']);
    for (const gid of gids('foul', POISONED)) await start(gid, ['foul', 'send']);
    for (const gid of gids('odd', POISONED)) await start(gid, ['odd', 'send']);
    const shop = await run.process({ steps: [...ORDINARY, 'pack', 'foul', 'odd'] });
    run.told.push(...(await shop.do('order', gids('order', GOOD / 2), ORDINARY)));
    run.told.push(...(await shop.do('start', gids('job', GOOD / 2), PLAIN)));
    await until('all good ones have ended', async () => (await stepping.jobs.stats()).succeeded === GOOD);

    await until('those that fail have failed', async () => (await stepping.jobs.stats()).failed === 2 * POISONED);
    assert.match((await stepping.jobs.find('foul-0000'))?.lastError?.message ?? '', /^nul .*half a pair .*, long long/);
    const unrunnable = Map.groupBy(run.lines('unrunnable'), ({ gid }) => gid);
    assert.equal(unrunnable.size, 2 * POISONED);
    for (const [gid, lines] of unrunnable) {
      assert.ok(lines.length <= 8, `${gid} was looked at ${lines.length} times`);
      const job = await stepping.jobs.find(gid);
      assert.equal(`${job?.status}, attempt ${job?.attempt}`, 'submitted, attempt 1', gid);
      await stepping.jobs.cancel(gid, 'Nobody can run it.');
    }
    await run.untilAllEnded();
    await audit(run, { noRepeats: true });
    await shop.stop();
  });
}
