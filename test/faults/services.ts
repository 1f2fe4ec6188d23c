import assert from 'node:assert/strict';
import { it } from '@jest/globals';
import { audit, gids } from './audit.js';
import type { FaultDatabase } from './databases.js';
import { Run } from './run.js';
import { ORDINARY, type StepName } from './steps.js';

/** Several kinds of service that share one store. */
export function describeServices(database: FaultDatabase): void {
  it('with different steps run each what is theirs, to and fro within a job', async () => {
    const run = await Run.open(database);
    await Promise.all([run.process({ node: 'orders', steps: ORDINARY }), run.process({ node: 'shipping', steps: ['ship'] })]);
    const names = gids('job', 60);
    run.told.push(...(await Promise.all(names.map((gid) => run.observer.start(gid, ['take', 'ship', 'book', 'ship', 'send'])))));
    await run.untilAllEnded();
    await audit(run, { noRepeats: true });
    for (const { node, step } of run.lines('begins')) assert.equal(node, step === 'ship' ? 'shipping' : 'orders', step);
    assert.equal(run.lines('unrunnable').length, 0);
  });

  it('of an old and a new release, one after the other replaced under work, fail and repeat nothing', async () => {
    const run = await Run.open(database);
    const next: readonly StepName[] = ['take', 'book', 'post'];
    const order = async (shop: Awaited<ReturnType<Run['process']>>, name: string, plan: readonly StepName[]) =>
      run.told.push(...(await shop.do('order', gids(name, 10), plan)));
    const old = [await run.process({ node: 'old-1', steps: ORDINARY }), await run.process({ node: 'old-2', steps: ORDINARY })] as const;
    await Promise.all(old.map((shop, i) => order(shop, `old-${i}`, ORDINARY)));
    const first = await run.process({ node: 'new-1', steps: next });
    await Promise.all([order(first, 'new-first', next), order(old[0], 'still-old', ORDINARY), old[0].stop()]);
    await Promise.all([order(first, 'new-beside-old', next), order(old[1], 'last-old', ORDINARY)]);
    await old[1].stop();
    const second = await run.process({ node: 'new-2', steps: next });
    await order(second, 'new-second', next);
    await run.untilAllEnded();
    await audit(run, { noRepeats: true });
    await Promise.all([first.stop(), second.stop()]);
  });
}
