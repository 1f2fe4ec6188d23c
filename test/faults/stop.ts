import assert from 'node:assert/strict';
import { it } from '@jest/globals';
import { audit } from './audit.js';
import { openBooks } from './books.js';
import type { FaultDatabase } from './databases.js';
import { Run } from './run.js';
import { openShop } from './shop.js';
import { ORDINARY } from './steps.js';
import { Moments, stopAt } from './stop-at.js';
import { watchedStore } from './watched-store.js';

const DRAIN_MS = 5_000;

/** A service that is told to stop, whatever it is doing. */
export function describeStop(database: FaultDatabase): void {
  it('at every moment (each call of its store, before and after; each start of a step) ends in time, and nothing is lost or done twice', async () => {
    const run = await Run.open(database);
    // Each goes on with what the one before left behind, and is stopped one moment later; the last one is done before that comes.
    for (let at = 1; await live(run, at); at++);
    assert.ok(run.told.length > 20, `There were only ${run.told.length} starts`);
    const rest = await run.process({ node: 'rest' });
    await run.untilAllEnded();
    await audit(run, { noRepeats: true });
    await rest.stop();
  });
}

/** One service, from its start until it was stopped at a moment, counted from 1. False: it had done all its work before. */
async function live(run: Run, at: number): Promise<boolean> {
  const moments = new Moments(at);
  const books = await openBooks(run.business);
  const shop = openShop(
    { ...books, store: watchedStore(books.store, moments.pass) },
    { node: `stopped-at-${at}`, trace: run.trace, steps: [...ORDINARY, 'pack'], processor: { maxPollMs: 100 } },
  );
  const tookMs = await stopAt(moments, shop, { told: run.told, name: at, drainTimeoutMs: DRAIN_MS });
  await books.close();
  assert.ok(tookMs < DRAIN_MS + 1_000, `At moment ${at} it took ${tookMs} ms`);
  return moments.hasCome;
}
