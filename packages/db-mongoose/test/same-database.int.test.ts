import { afterEach, expect, it } from '@jest/globals';
import { type AnyStep, defineStep, type Stepping, unchecked } from '@stepping/core';
import { localTm } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { mongooseStore } from '@stepping/tm-local-mongoose';
import type { Connection } from 'mongoose';
import { barriersIn } from '../src/barrier-collection.js';
import { inTransaction, mongooseDb, mongooseTransaction } from '../src/index.js';
import { errorOf, sendMail, started, stopApps } from './support/apps.js';
import { openWire } from './support/cut-commit.js';
import { closeConnections, connected, mongodb, ordersOf } from './support/database.js';

const closing: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  await stopApps();
  for (const close of closing.splice(0).reverse()) await close();
  await closeConnections();
});

mongodb.describe('jobs in the database of the transaction, on MongoDB', () => {
  interface Wanted {
    readonly runs?: boolean;
    readonly steps?: readonly AnyStep[];
    readonly connection?: Connection;
  }

  /** Jobs and orders through one connection. */
  const setUp = async ({ runs = false, steps, connection: given }: Wanted = {}) => {
    const connection = given ?? (await connected());
    const stepping: Stepping = await started({
      tm: localTm({ store: mongooseStore({ connection }), processor: runs && hostedProcessor() }),
      use: [mongooseDb({ connection })],
      ...(steps && { steps }),
    });
    const statusOf = async (gid: string) => (await stepping.jobs.find(gid))?.status;
    const messages = () => barriersIn(connection).countDocuments({ reason: { $exists: true } });
    return { connection, stepping, statusOf, messages };
  };

  it('are written by the transaction itself: no barrier, nothing in doubt', async () => {
    const { connection, stepping, statusOf, messages } = await setUp();
    const gid = await inTransaction(stepping, connection, async ({ session, job }) => {
      await ordersOf(connection).create([{ what: 'x' }], { session });
      return job.addStep(sendMail, { order: 1 }).gid;
    });
    expect([await statusOf(gid), await ordersOf(connection).countDocuments(), await messages()]).toEqual(['submitted', 1, 0]);
  });

  it('are also those of another database of the same client', async () => {
    const { connection, stepping, statusOf } = await setUp();
    const other = connection.useDb(`${connection.name}_2`);
    const beside = await started({
      tm: localTm({ store: mongooseStore({ connection }), processor: false }),
      use: [mongooseDb({ connection: other })],
    });
    await other.createCollection('orders');
    await inTransaction(beside, { connection: other, gid: 'beside' }, async ({ session, job }) => {
      await other.collection('orders').insertOne({ what: 'x' }, { session });
      job.addStep(sendMail, { order: 1 });
    });
    expect(await statusOf('beside')).toBe('submitted');
    expect(await barriersIn(other).countDocuments({ reason: { $exists: true } })).toBe(0);
    await stepping.stop();
    await other.dropDatabase();
  });

  it('are rolled back with it', async () => {
    const { connection, stepping, statusOf } = await setUp();
    const session = await connection.startSession();
    session.startTransaction();
    const job = stepping.createJob({ transaction: mongooseTransaction(session, connection) }).addStep(sendMail, { order: 1 });
    await job.prepare();
    expect(await errorOf(job.submit())).toMatchObject({ code: 'TX_STILL_ACTIVE' });
    await session.abortTransaction();
    expect(await job.submit()).toBe('rolled-back');
    expect(await statusOf(job.gid)).not.toBe('submitted');
    await session.endSession();
  });

  it("belong to the user's own commit as well", async () => {
    const { connection, stepping, statusOf } = await setUp();
    const job = await connection.transaction(async (session) => {
      const inside = stepping.createJob({ transaction: mongooseTransaction(session, connection) }).addStep(sendMail, { order: 1 });
      await inside.prepare();
      return inside;
    });
    expect(await job.submit()).toBe('submitted');
    const session = await connection.startSession();
    session.startTransaction();
    const { gid } = await stepping
      .createJob({ transaction: mongooseTransaction(session, connection) })
      .addStep(sendMail, { order: 2 })
      .start();
    expect([await statusOf(job.gid), await statusOf(gid)]).toEqual(['submitted', 'submitted']);
    await session.endSession();
  });

  it('are refused with a write concern below the majority', async () => {
    const { connection, stepping, statusOf } = await setUp();
    const session = await connection.startSession();
    session.startTransaction({ writeConcern: { w: 1 } });
    const job = stepping.createJob({ transaction: mongooseTransaction(session, connection), gid: 'weak' }).addStep(sendMail, { order: 1 });
    expect(await errorOf(job.prepare())).toMatchObject({ code: 'STORE_REFUSED' });
    await session.commitTransaction();
    expect(await statusOf('weak')).toBeUndefined();
    await session.endSession();
  });

  it('are started once for each gid, and the second business transaction is rolled back', async () => {
    const { connection, stepping } = await setUp();
    const order = () =>
      inTransaction(stepping, { connection, gid: 'order-7' }, async ({ session, job }) => {
        await ordersOf(connection).create([{ what: 'x' }], { session });
        job.addStep(sendMail, { order: 1 });
      });
    const codes = await Promise.all(
      Array.from({ length: 5 }, () =>
        order().then(
          () => 'ok',
          ({ code }) => code,
        ),
      ),
    );
    expect(codes.filter((code) => code === 'ok')).toHaveLength(1);
    expect(codes.filter((code) => code !== 'ok' && code !== 'JOB_DUPLICATE' && code !== 'JOB_IN_DOUBT')).toEqual([]);
    expect(await ordersOf(connection).countDocuments()).toBe(1);
  });

  it('are those of the last run, when MongoDB asks for the body to run again', async () => {
    const ran: number[] = [];
    const count = defineStep({ name: 'count', args: unchecked<{ run: number }>(), run: ({ args }) => void ran.push(args.run) });
    const { connection, stepping } = await setUp({ steps: [count], runs: true });
    const [stock] = await ordersOf(connection).create([{ what: 'stock' }]);
    let runs = 0;
    await inTransaction(stepping, { connection, gid: 'again' }, async ({ session, job }) => {
      const run = ++runs;
      for (let i = 0; i < run; i++) job.addStep(count, { run });
      await ordersOf(connection).findById(stock?._id).session(session); // its snapshot
      if (run === 1) await ordersOf(connection).updateOne({ _id: stock?._id }, { what: 'taken meanwhile' });
      await ordersOf(connection).updateOne({ _id: stock?._id }, { what: `taken by run ${run}` }, { session });
    });
    expect((await stepping.jobs.wait('again', { timeoutMs: 50_000 })).status).toBe('succeeded');
    expect([runs, ran, (await ordersOf(connection).findById(stock?._id))?.what]).toEqual([2, [2, 2], 'taken by run 2']);
  }, 60_000);

  it('are there once when the answers of the commit are lost', async () => {
    const url = await mongodb.database('wire');
    const direct = await connected(url);
    await ordersOf(direct).createCollection();
    const wire = await openWire(url);
    closing.push(() => wire.close());
    const { connection, stepping, statusOf } = await setUp({ connection: await connected(wire.url) });
    for (const [gid, how] of [
      ['unheard', 'after'],
      ['late', 'before'],
    ] as const) {
      wire.cutCommits(how, 5);
      await inTransaction(stepping, { connection, gid }, async ({ session, job }) => {
        await ordersOf(connection).create([{ what: gid }], { session });
        job.addStep(sendMail, { order: 1 });
      });
      expect([await statusOf(gid), await ordersOf(direct).countDocuments({ what: gid })]).toEqual(['submitted', 1]);
    }
  });

  it('are found out about when the user commits, and the answer is lost or the server never asked', async () => {
    const url = await mongodb.database('wire');
    const direct = await connected(url);
    await ordersOf(direct).createCollection();
    const wire = await openWire(url);
    closing.push(() => wire.close());
    const { connection, stepping, statusOf } = await setUp({ connection: await connected(wire.url) });
    const committed = async (gid: string, how: 'before' | 'after') => {
      const session = await connection.startSession();
      session.startTransaction();
      await ordersOf(connection).create([{ what: gid }], { session });
      const job = stepping.createJob({ transaction: mongooseTransaction(session, connection), gid }).addStep(sendMail, { order: 1 });
      await job.prepare();
      wire.cutCommits(how, 2); // the driver sends it twice
      await errorOf(session.commitTransaction());
      return { job, session };
    };
    const unheard = await committed('unheard', 'after');
    expect(await unheard.job.submit()).toBe('submitted');
    expect([await statusOf('unheard'), await ordersOf(direct).countDocuments({ what: 'unheard' })]).toEqual(['submitted', 1]);

    const never = await committed('never', 'before');
    expect(await errorOf(never.job.submit())).toMatchObject({ code: 'COMMIT_OUTCOME_UNKNOWN' });
    const admin = direct.getClient().db('admin');
    await admin.command({ killSessions: [never.session.id] }); // as the server does by itself after a minute
    while ((await never.job.resolve()) !== 'rolled-back');
    expect([await statusOf('never'), await ordersOf(direct).countDocuments({ what: 'never' })]).toEqual(['rolled-back', 0]);
    for (const { session } of [unheard, never]) await session.endSession();
  }, 60_000);

  it('run, 100 of them started at once, and their steps write to the same database', async () => {
    let app: Stepping | undefined;
    let database: Connection | undefined;
    const close = defineStep({
      name: 'order.close',
      args: unchecked<{ id: string }>(),
      async run({ args }) {
        if (!app || !database) return;
        const orders = ordersOf(database);
        await inTransaction(app, database, ({ session }) => orders.updateOne({ _id: args.id }, { what: 'closed' }, { session }).exec());
      },
    });
    const { connection, stepping } = await setUp({ steps: [close], runs: true });
    [app, database] = [stepping, connection];
    const gids = await Promise.all(
      Array.from({ length: 100 }, (_, i) =>
        inTransaction(stepping, connection, async ({ session, job }) => {
          const [order] = await ordersOf(connection).create([{ what: `open ${i}` }], { session });
          return job.addStep(close, { id: String(order?._id) }).gid;
        }),
      ),
    );
    for (const gid of gids) expect((await stepping.jobs.wait(gid, { timeoutMs: 60_000 })).status).toBe('succeeded');
    expect(await ordersOf(connection).countDocuments({ what: 'closed' })).toBe(100);
  }, 120_000);
});
