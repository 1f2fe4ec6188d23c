import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { nodeHandler } from '@stepping/core';
import { openBooks } from './books.js';
import type { DtmRun } from './dtm-run.js';
import { Relay } from './relay.js';
import { openShop } from './shop.js';
import { ORDINARY, PLAIN } from './steps.js';
import { watchedLedger } from './watched-ledger.js';

const DRAIN_MS = 5_000;

/** A replica after the other goes on with what the one before left behind, and is stopped one moment later; the last one is done before that comes. */
export async function stopAtEveryMoment(run: DtmRun): Promise<void> {
  const toServer = await Relay.listen();
  run.atEnd(() => toServer.close());
  toServer.targets = [run.dtm.serverUrl];
  for (let stopAt = 1; await live(run, toServer, stopAt); stopAt++);
}

/** One replica, from its start until it was stopped at a moment, counted from 1. False: it had done all its work before. */
async function live(run: DtmRun, toServer: Relay, stopAt: number): Promise<boolean> {
  const { promise: moment, resolve: reachMoment } = Promise.withResolvers<void>();
  const { promise: done, resolve: finish } = Promise.withResolvers<void>();
  let moments = 0;
  const pass = () => {
    if (++moments === stopAt) reachMoment();
  };
  const books = await openBooks(run.business);
  const { stepping, order, start } = openShop(
    { ...books, database: watchedLedger(books.database, pass) },
    { node: `stopped-at-${stopAt}`, trace: run.trace, steps: [...ORDINARY, 'pack'], dtm: { ...run.dtm, serverUrl: toServer.url } },
  );
  const callbacks = createServer(nodeHandler(stepping)).listen(0, '127.0.0.1');
  await once(callbacks, 'listening');
  const origin = `http://127.0.0.1:${(callbacks.address() as AddressInfo).port}`;
  run.join(origin);
  for (const relay of [toServer, run.callbacks]) relay.tell = pass;
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
  run.leave(origin);
  for (const relay of [toServer, run.callbacks]) relay.tell = () => {};
  callbacks.close();
  callbacks.closeAllConnections();
  await books.close();
  assert.ok(tookMs < DRAIN_MS + 1_000, `At moment ${stopAt} it took ${tookMs} ms`);
  return moments >= stopAt;
}
