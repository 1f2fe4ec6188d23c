import assert from 'node:assert/strict';
import { it } from '@jest/globals';
import { audit, gids } from './audit.js';
import type { FaultDatabase } from './databases.js';
import { Run } from './run.js';
import type { Plan } from './shop.js';
import { ORDINARY, type StepName } from './steps.js';
import { until } from './until.js';

/** Steps that do what no step should. Their number of attempts is bounded, and nobody else has anything of it. */
export function describeBadSteps(database: FaultDatabase): void {
  const STEPS: readonly StepName[] = [...ORDINARY, 'outlives', 'deaf', 'kills'];

  it('that outlive their timeout, or do not listen to their signal, are failed after their attempts; a late end writes nothing', async () => {
    const run = await Run.open(database);
    const shop = await run.process({ steps: STEPS });
    const bad: Plan[] = [
      [['outlives', { ms: 60_000 }], 'send'],
      [['deaf', { ms: 800 }], 'send'],
    ];
    for (const [i, plan] of bad.entries()) await shop.do('start', gids(`bad-${i}`, 3), plan);
    run.told.push(...(await shop.do('order', gids('good', 20), ORDINARY)));
    await run.untilAllEnded();
    await until('the deaf ones have ended, too', () => run.lines('ends').filter(({ step }) => step === 'deaf').length === 6);
    for (const gid of bad.flatMap((_, i) => gids(`bad-${i}`, 3))) {
      const job = await run.observer.stepping.jobs.find(gid);
      assert.equal(`${job?.status} at ${job?.step}: ${job?.lastError?.name}`, 'failed at 0: STEP_TIMEOUT', gid);
      const begun = run.lines('begins').filter((line) => line.gid === gid);
      assert.equal(begun.map(({ attempt }) => attempt).join(), '1,2', gid);
    }
    await audit(run, { noRepeats: true });
    await shop.stop();
  });

  it('that kill their process are begun as often as they have attempts, then failed; their neighbours end well', async () => {
    const run = await Run.open(database);
    await run.observer.start('killer', ['kills', 'send']);
    const plan: Plan = [['take', { ms: 100 }], 'book', 'send'];
    run.told.push(...(await Promise.all(gids('neighbour', 10).map((gid) => run.observer.start(gid, plan)))));
    const killed = async () => (await run.observer.stepping.jobs.find('killer'))?.status === 'failed';
    let lives = 0;
    // As whatever keeps services running does it.
    while (!(await killed())) {
      const shop = await run.process({ steps: STEPS, leaseMs: 600 });
      lives++;
      await Promise.race([shop.exited, until('the killer is failed', killed)]);
      await run.noticesLostClients();
    }
    await run.untilAllEnded();
    const begun = run.lines('begins').filter(({ step }) => step === 'kills');
    assert.equal(begun.length, 3, `Begun ${begun.length} times in ${lives} lives`);
    assert.match((await run.observer.stepping.jobs.find('killer'))?.lastError?.message ?? '', /^Worker lost/);
    assert.ok(!run.lines().some(({ gid, index }) => gid === 'killer' && index === 1), 'What came after it has run');
    await audit(run);
  });
}
