import { it } from '@jest/globals';
import { audit, gids } from './audit.js';
import type { FaultDatabase } from './databases.js';
import { Run } from './run.js';
import { PLAIN } from './steps.js';

const WAVES = 4;
const JOBS = 400;

/** A transaction of somebody else that has looked at the jobs, and stays open: nothing that it could still see is cleared away. */
export function describeOldTransaction(database: FaultDatabase): void {
  it('that stays open elsewhere holds no job up, nor makes it dearer with every job that ended', async () => {
    const run = await Run.open(database);
    const jobs = JOBS * database.share;
    const shop = await run.process();
    await run.observer.start('before', ['pack']);
    const release = await run.books.look();
    const tookMs: number[] = [];
    for (let wave = 0; wave < WAVES; wave++) {
      const since = performance.now();
      run.told.push(...(await shop.do('start', gids(`job-${wave}`, jobs), PLAIN)));
      await run.untilAllEnded();
      tookMs.push(Math.round(performance.now() - since));
    }
    await audit(run);
    await release();
    console.log(`${database.name}: under one old transaction, ${WAVES} times ${jobs} jobs took ${tookMs.join(', ')} ms`);
  });
}
