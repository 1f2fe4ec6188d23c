import assert from 'node:assert/strict';
import { it } from '@jest/globals';
import { audit, gids } from './audit.js';
import type { FaultDatabase } from './databases.js';
import { Run } from './run.js';
import { PLAIN } from './steps.js';
import { until } from './until.js';

const WAVES = 4;
const JOBS = 100;

/** Several processors that want the same jobs. */
export function describeRaces(database: FaultDatabase): void {
  it('for every job, two in one process and four in four, run each step exactly once', async () => {
    const run = await Run.open(database);
    const common = { processor: { maxPollMs: 50, concurrency: 4 } };
    await Promise.all([
      run.process({ node: 'both', processors: 2, ...common }),
      ...['one', 'two', 'three', 'four'].map((node) => run.process({ node, ...common })),
    ]);
    for (let wave = 1; wave <= WAVES; wave++) {
      const names = gids(`job-${wave}`, JOBS);
      run.told.push(...(await Promise.all(names.map((gid) => run.observer.start(gid, PLAIN)))));
      await until('the wave is over', async () => (await run.observer.stepping.jobs.stats()).succeeded === wave * JOBS);
    }
    await audit(run, { noRepeats: true });
    const nodes = new Set(run.lines('begins').map(({ node }) => node));
    assert.ok(nodes.size >= 4, `Only ${[...nodes].sort()} had any`);
  });
}
