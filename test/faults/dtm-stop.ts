import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { nodeHandler } from '@stepping/core';
import { openBooks } from './books.js';
import type { DtmRun } from './dtm-run.js';
import { Relay } from './relay.js';
import { openShop } from './shop.js';
import { ORDINARY } from './steps.js';
import { Moments, stopAt } from './stop-at.js';
import { watchedLedger } from './watched-ledger.js';

const DRAIN_MS = 5_000;

/** A replica after the other goes on with what the one before left behind, and is stopped one moment later; the last one is done before that comes. */
export async function stopAtEveryMoment(run: DtmRun): Promise<void> {
  const toServer = await Relay.listen();
  run.atEnd(() => toServer.close());
  toServer.targets = [run.dtm.serverUrl];
  for (let at = 1; await live(run, toServer, at); at++);
}

/** One replica, from its start until it was stopped at a moment, counted from 1. False: it had done all its work before. */
async function live(run: DtmRun, toServer: Relay, at: number): Promise<boolean> {
  const moments = new Moments(at);
  const books = await openBooks(run.business);
  const shop = openShop(
    { ...books, database: watchedLedger(books.database, moments.pass) },
    { node: `stopped-at-${at}`, trace: run.trace, steps: [...ORDINARY, 'pack'], dtm: { ...run.dtm, serverUrl: toServer.url } },
  );
  const callbacks = createServer(nodeHandler(shop.stepping)).listen(0, '127.0.0.1');
  await once(callbacks, 'listening');
  const origin = `http://127.0.0.1:${(callbacks.address() as AddressInfo).port}`;
  run.join(origin);
  for (const relay of [toServer, run.callbacks]) relay.tell = moments.pass;
  const tookMs = await stopAt(moments, shop, { told: run.told, name: at, drainTimeoutMs: DRAIN_MS });
  run.leave(origin);
  for (const relay of [toServer, run.callbacks]) relay.tell = () => {};
  callbacks.close();
  callbacks.closeAllConnections();
  await books.close();
  assert.ok(tookMs < DRAIN_MS + 1_000, `At moment ${at} it took ${tookMs} ms`);
  return moments.hasCome;
}
