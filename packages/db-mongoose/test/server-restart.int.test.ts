import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it } from '@jest/globals';
import { defineStep, SteppingError, unchecked } from '@stepping/core';
import { testService } from '@stepping/test-services';
import { localTm, memoryStore, type StorePlugin } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { mongooseStore } from '@stepping/tm-local-mongoose';
import { type Connection, createConnection } from 'mongoose';
import { tcpProxy } from '../../tm-local-typeorm/test/tcp-proxy.js';
import { inTransaction, mongooseDb } from '../src/index.js';
import { started, stopApps } from './support/apps.js';
import { closeConnections, connected, ordersOf } from './support/database.js';

// Alone on its server: it kills it.
const mongodb = await testService('mongodb-own');

const ORDERS = 1_000;
const CALLERS = 50;
/** What was claimed in an answer that is lost waits so long. Unit: ms. */
const LEASE_MS = 2_000;

/** Until it is a hang, and no longer a slow machine. Unit: ms. */
const PATIENCE_MS = 90_000;
/** For a write of one document. Unit: ms. */
const WRITE_MS = 10_000;

class Refused extends Error {}

const closing: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  await stopApps();
  for (const close of closing.splice(0).reverse()) await close();
  await closeConnections();
});

mongodb.describe('orders in a MongoDB whose connections are cut, and that is killed and started again', () => {
  it('have their jobs, and no others, with the jobs elsewhere', async () => {
    await expectOneJobEach(() => memoryStore());
  }, 400_000);

  it('have their jobs, and no others, with the jobs in the same database', async () => {
    await expectOneJobEach((connection) => mongooseStore({ connection }));
  }, 400_000);
});

/** One order in ten is refused after it was written and its step was added. The others are asked for until they are there, by the same gid. */
async function expectOneJobEach(store: (connection: Connection) => StorePlugin): Promise<void> {
  const direct = `${(await mongodb.database()).split('?')[0]}?directConnection=true`;
  const proxy = await tcpProxy(direct);
  closing.push(() => proxy.close());
  const connection = await connected(proxy.url);
  await ordersOf(connection).createCollection();
  const ran = new Set<string>();
  const mail = defineStep({ name: 'mail', args: unchecked<{ what: string }>(), run: ({ args }) => void ran.add(args.what) });
  const stepping = await started({
    steps: [mail],
    tm: localTm({
      store: store(connection),
      processor: hostedProcessor({ maxPollMs: 50 }),
      leaseMs: LEASE_MS,
      prepareTimeoutMs: LEASE_MS,
    }),
    use: [mongooseDb({ connection })],
  });

  let placed = 0;
  const order = async (what: string, isRefused: boolean): Promise<void> => {
    const call = inTransaction(stepping, { connection, gid: what }, async ({ session, job }) => {
      await ordersOf(connection).create([{ what }], { session });
      job.addStep(mail, { what });
      if (isRefused) throw new Refused();
    });
    const error = await call.then(() => undefined).catch((error: unknown) => error);
    if (error !== undefined && !(error instanceof Refused) && !SteppingError.is(error, 'JOB_DUPLICATE')) {
      await sleep(50);
      return order(what, isRefused);
    }
    placed++;
  };
  const names = Array.from({ length: ORDERS }, (_, i) => (i % 10 === 0 ? `refused-${i}` : `order-${i}`));
  const orders = names.filter((what) => what.startsWith('order-')).sort();
  let next = 0;
  const callers = Array.from({ length: CALLERS }, async () => {
    while (next < names.length) {
      const what = names[next++] as string;
      await order(what, what.startsWith('refused-'));
    }
  });

  const looks = async () => ({ placed, ran: ran.size, of: orders.length, ...(await stepping.jobs.stats()) });
  const until = async (isSo: () => boolean | Promise<boolean>): Promise<void> => {
    let giveUpAt = performance.now() + PATIENCE_MS;
    while (!(await isSo())) {
      if (performance.now() > giveUpAt) {
        const stands = JSON.stringify(await looks());
        if (await takesWrites(direct)) throw new Error(`Waited in vain: ${stands}`);
        console.warn(`The server takes no write of anybody any more: started again. ${stands}`);
        await mongodb.restart();
        giveUpAt = performance.now() + PATIENCE_MS;
      }
      await sleep(20);
    }
  };
  await until(() => placed > ORDERS / 4);
  proxy.cut();
  proxy.heal();
  await until(() => placed > ORDERS / 2);
  await mongodb.restart();
  await until(() => placed === ORDERS);
  await Promise.all(callers);
  await until(() => ran.size >= orders.length);

  expect((await ordersOf(connection).find()).map(({ what }) => what).sort()).toEqual(orders);
  expect([...ran].sort()).toEqual(orders);
  await until(async () => (await stepping.jobs.stats()).submitted === 0);
  const { prepared, succeeded } = await stepping.jobs.stats();
  expect([prepared, succeeded]).toEqual([0, orders.length]);
}

/** Whether a stranger can write, past the proxy and to a collection of its own. What stands in for MongoDB sometimes stops to, after connections broke in the middle of many transactions. */
async function takesWrites(url: string): Promise<boolean> {
  const stranger = await createConnection(url, { serverSelectionTimeoutMS: WRITE_MS }).asPromise();
  try {
    const written = stranger.collection('strangers').insertOne({ at: new Date() });
    return await Promise.race([written.then(() => true), sleep(WRITE_MS, false)]);
  } catch {
    return false;
  } finally {
    await stranger.close(true).catch(() => {});
  }
}
