import assert from 'node:assert/strict';
import { it } from '@jest/globals';
import { audit } from './audit.js';
import { openBooks } from './books.js';
import type { FaultDatabase } from './databases.js';
import { Run } from './run.js';
import { openShop } from './shop.js';
import { ORDINARY, PLAIN } from './steps.js';
import { watchedStore } from './watched-store.js';

const DRAIN_MS = 5_000;

/** A service that is told to stop, whatever it is doing. */
export function describeStop(database: FaultDatabase): void {
  it('at every moment (each call of its store, before and after; each start of a step) ends in time, and nothing is lost or done twice', async () => {
    const run = await Run.open(database);
    // Each goes on with what the one before left behind, and is stopped one moment later; the last one is done before that comes.
    for (let stopAt = 1; await live(run, stopAt); stopAt++);
    assert.ok(run.told.length > 20, `There were only ${run.told.length} starts`);
    const rest = await run.process({ node: 'rest' });
    await run.untilAllEnded();
    await audit(run, { noRepeats: true });
    await rest.stop();
  });
}

/** One service, from its start until it was stopped at a moment, counted from 1. False: it had done all its work before. */
async function live(run: Run, stopAt: number): Promise<boolean> {
  const { promise: moment, resolve: reachMoment } = Promise.withResolvers<void>();
  const { promise: done, resolve: finish } = Promise.withResolvers<void>();
  let moments = 0;
  const pass = () => {
    if (++moments === stopAt) reachMoment();
  };
  const books = await openBooks(run.business);
  const { stepping, order, start } = openShop(
    { ...books, store: watchedStore(books.store, pass) },
    { node: `stopped-at-${stopAt}`, trace: run.trace, steps: [...ORDINARY, 'pack'], processor: { maxPollMs: 100 } },
  );
  const mine = new Set([`order-${stopAt}`, `job-${stopAt}`]);
  stepping.on('step.started', pass);
  stepping.on('job.succeeded', ({ gid }) => {
    if (mine.delete(gid) && mine.size === 0) finish();
  });
  const work = async () => {
    await stepping.start();
    run.told.push(...(await Promise.all([order(`order-${stopAt}`, ORDINARY), start(`job-${stopAt}`, PLAIN)])));
  };
  // A start that was overtaken by the stop says so; what it would have begun was not.
  const working = work().catch(() => {});
  await Promise.race([moment, done]);
  const since = performance.now();
  await stepping.stop({ drainTimeoutMs: DRAIN_MS });
  const tookMs = Math.round(performance.now() - since);
  await working;
  await books.close();
  assert.ok(tookMs < DRAIN_MS + 1_000, `At moment ${stopAt} it took ${tookMs} ms`);
  return moments >= stopAt;
}
