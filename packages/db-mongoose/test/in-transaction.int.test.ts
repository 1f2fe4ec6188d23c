import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeEach, expect, it } from '@jest/globals';
import { defineStep, type SteppingEvents, unchecked } from '@stepping/core';
import type { Connection } from 'mongoose';
import { barriersIn, keysOf } from '../src/barrier-collection.js';
import { inTransaction, mongooseDb, mongooseTransaction } from '../src/index.js';
import { errorOf, ran, sendMail, started, stopApps } from './support/apps.js';
import { closeConnections, connected, mongodb, ordersOf } from './support/database.js';

mongodb.describe('inTransaction on MongoDB', () => {
  let connection: Connection;
  beforeEach(async () => {
    connection = await connected();
    ran.length = 0;
  });
  afterEach(stopApps);
  afterAll(closeConnections);

  const orders = () => ordersOf(connection).countDocuments();
  const app = (options: Parameters<typeof started>[0] = {}) => started({ use: [mongooseDb({ connection })], ...options });

  it('commits, and runs the steps', async () => {
    const stepping = await app({ runs: true });
    const answer = await inTransaction(stepping, { connection, gid: 'order-1' }, async ({ session, job }) => {
      await ordersOf(connection).create([{ what: 'book' }], { session });
      job.addStep(sendMail, { order: 1 });
      return 'done';
    });
    expect(answer).toBe('done');
    expect((await stepping.jobs.wait('order-1', { timeoutMs: 50_000 })).status).toBe('succeeded');
    expect([await orders(), ran]).toEqual([1, ['order-1']]);
  });

  it('rolls back when the body throws, passes its error as it is, and starts nothing', async () => {
    const stepping = await app();
    const error = new Error('no stock');
    const call = inTransaction(stepping, { connection, gid: 'g' }, async ({ session, job }) => {
      job.addStep(sendMail, { order: 1 });
      await ordersOf(connection).create([{ what: 'book' }], { session });
      throw error;
    });
    expect(await errorOf(call)).toBe(error);
    expect([await orders(), await stepping.jobs.find('g')]).toEqual([0, undefined]);
  });

  it('commits without a job when no step was added, and without a word to the server when nothing was done', async () => {
    const stepping = await app();
    await inTransaction(
      stepping,
      connection,
      async ({ session }) => void (await ordersOf(connection).create([{ what: 'x' }], { session })),
    );
    expect(await inTransaction(stepping, connection, async () => 7)).toBe(7);
    expect(await orders()).toBe(1);
    expect((await stepping.jobs.list()).jobs.length).toBe(0);
  });

  it('commits a job alone', async () => {
    const stepping = await app();
    await inTransaction(stepping, { gid: 'alone' }, async ({ job }) => void job.addStep(sendMail, { order: 1 }));
    expect((await stepping.jobs.find('alone'))?.status).toBe('submitted');
  });

  it('starts a gid once: the second business transaction is rolled back', async () => {
    const stepping = await app();
    const place = () =>
      inTransaction(stepping, { connection, gid: 'same' }, async ({ session, job }) => {
        job.addStep(sendMail, { order: 1 });
        await ordersOf(connection).create([{ what: 'book' }], { session });
      });
    await place();
    expect(await errorOf(place())).toMatchObject({ code: 'JOB_DUPLICATE' });
    expect(await orders()).toBe(1);
    expect(await barriersIn(connection).countDocuments({ _id: keysOf('same') })).toBe(1);
  });

  it('runs the body again after a write conflict, with a new job; only that of the last run counts', async () => {
    const stepping = await app();
    const [stock] = await ordersOf(connection).create([{ what: '0' }]);
    const jobs: string[] = [];
    const steps: number[] = [];
    const take = async (name: string) =>
      inTransaction(stepping, connection, async ({ session, job }) => {
        jobs.push(job.gid);
        steps.push(job.stepCount);
        job.addStep(sendMail, { order: 1 });
        const read = await ordersOf(connection).findById(stock?._id).session(session).orFail();
        await sleep(20); // both read before one writes
        await ordersOf(connection).updateOne({ _id: stock?._id }, { what: `${read.what}+${name}` }, { session });
        return job.gid;
      });
    const done = await Promise.all([take('a'), take('b')]);
    expect((await ordersOf(connection).findById(stock?._id))?.what).toMatch(/^0\+[ab]\+[ab]$/);
    expect(jobs.length).toBeGreaterThan(2);
    expect(new Set(jobs).size).toBe(jobs.length);
    expect(new Set(steps)).toEqual(new Set([0]));
    const listed = (await stepping.jobs.list()).jobs.map(({ gid }) => gid);
    expect(listed.sort()).toEqual([...done].sort());
  });

  it('keeps the steps of the last run alone, under the gid that the caller chose', async () => {
    const counted: number[] = [];
    const count = defineStep({ name: 'count', args: unchecked<{ run: number }>(), run: ({ args }) => void counted.push(args.run) });
    const stepping = await app({ steps: [count], runs: true });
    const [stock] = await ordersOf(connection).create([{ what: 'stock' }]);
    let runs = 0;
    await inTransaction(stepping, { connection, gid: 'again' }, async ({ session, job }) => {
      const run = ++runs;
      expect(job.stepCount).toBe(0);
      for (let i = 0; i < run; i++) job.addStep(count, { run });
      await ordersOf(connection).findById(stock?._id).session(session); // its snapshot
      if (run === 1) await ordersOf(connection).updateOne({ _id: stock?._id }, { what: 'taken meanwhile' });
      await ordersOf(connection).updateOne({ _id: stock?._id }, { what: `taken by run ${run}` }, { session });
    });
    expect((await stepping.jobs.wait('again', { timeoutMs: 50_000 })).status).toBe('succeeded');
    expect([counted, (await ordersOf(connection).findById(stock?._id))?.what]).toEqual([[2, 2], 'taken by run 2']);
    const barriers = await barriersIn(connection)
      .find({ _id: keysOf('again') })
      .toArray();
    expect(barriers).toHaveLength(1);
  }, 60_000);

  it('lets an error of the driver pass, label and all', async () => {
    const stepping = await app();
    await ordersOf(connection).collection.createIndex({ what: 1 }, { unique: true });
    await ordersOf(connection).create([{ what: 'taken' }]);
    const call = inTransaction(stepping, connection, async ({ session, job }) => {
      job.addStep(sendMail, { order: 1 });
      await ordersOf(connection).create([{ what: 'taken' }], { session });
    });
    expect(await errorOf(call)).toMatchObject({ name: 'MongoServerError', code: 11_000 });
    expect((await stepping.jobs.list()).jobs.length).toBe(0);
  });

  it('resets documents between two runs', async () => {
    const stepping = await app();
    const order = new (ordersOf(connection))({ what: 'made outside' });
    let runs = 0;
    await inTransaction(stepping, connection, async ({ session }) => {
      await order.save({ session });
      if (++runs < 3) throw transient(connection);
    });
    expect([runs, await orders()]).toEqual([3, 1]);
  });

  it('tells of a job once, and of no job of an earlier run', async () => {
    const stepping = await app();
    const told: SteppingEvents['job.submitted'][] = [];
    stepping.on('job.submitted', (event) => told.push(event));
    let runs = 0;
    const gid = await inTransaction(stepping, connection, async ({ session, job }) => {
      job.addStep(sendMail, { order: 1 });
      await ordersOf(connection).create([{ what: 'x' }], { session });
      if (++runs < 2) throw transient(connection);
      return job.gid;
    });
    expect(told.map((event) => event.gid)).toEqual([gid]);
  });

  it('refuses steps that are added after the body has ended, also after the end of an earlier run', async () => {
    const stepping = await app();
    let late: () => unknown = () => {};
    let runs = 0;
    await inTransaction(stepping, connection, async ({ session, job }) => {
      if (++runs === 2) expect(late).toThrow(expect.objectContaining({ code: 'JOB_ALREADY_STARTED' }));
      late = () => job.addStep(sendMail, { order: 1 });
      await ordersOf(connection).create([{ what: 'x' }], { session });
      if (runs === 1) throw transient(connection);
    });
    expect(late).toThrow(expect.objectContaining({ code: 'JOB_ALREADY_STARTED' }));
  });

  it('leaves commit and abort to itself', async () => {
    const stepping = await app();
    for (const end of ['abortTransaction', 'commitTransaction'] as const) {
      const call = inTransaction(stepping, { connection, gid: end }, async ({ session, job }) => {
        job.addStep(sendMail, { order: 1 });
        await ordersOf(connection).create([{ what: end }], { session });
        await session[end]();
      });
      expect(await errorOf(call)).toMatchObject({ code: 'TX_NOT_ACTIVE' });
      expect(await stepping.jobs.find(end)).toBeUndefined();
      expect(await barriersIn(connection).countDocuments({ _id: keysOf(end) })).toBe(0);
    }
  });

  it('takes a second job on the session of its body, but lets none of them commit', async () => {
    const stepping = await app();
    const second = await inTransaction(stepping, connection, async ({ session }) => {
      const job = stepping
        .createJob({ transaction: mongooseTransaction(session, connection), gid: 'second' })
        .addStep(sendMail, { order: 2 });
      expect(await errorOf(job.start())).toMatchObject({ code: 'TX_NOT_OWNED' });
      await job.prepare();
      return job;
    });
    expect(await second.submit()).toBe('submitted');
  });

  it('refuses a session of another client: a model of another connection', async () => {
    const stepping = await app();
    const other = await connected();
    const call = inTransaction(stepping, { connection, gid: 'g' }, async ({ session, job }) => {
      job.addStep(sendMail, { order: 1 });
      await ordersOf(other).create([{ what: 'elsewhere' }], { session });
    });
    expect(await errorOf(call)).toMatchObject({ message: expect.stringMatching(/same MongoClient/) });
    expect([await ordersOf(other).countDocuments(), await stepping.jobs.find('g')]).toEqual([0, undefined]);
  });

  it('commits with a majority, from the primary, whatever the connection says', async () => {
    const url = await mongodb.database('weak');
    const weak = await connected(`${url}${url.includes('?') ? '&' : '?'}w=1&readPreference=secondaryPreferred`, { monitorCommands: true });
    await ordersOf(weak).createCollection();
    const stepping = await started({ use: [mongooseDb({ connection: weak })] });
    const commits: any[] = [];
    weak.getClient().on('commandStarted', ({ commandName, command }) => {
      if (commandName === 'commitTransaction') commits.push(command.writeConcern);
    });
    await inTransaction(stepping, { gid: 'strong' }, async ({ session, job }) => {
      job.addStep(sendMail, { order: 1 });
      await ordersOf(weak).create([{ what: 'x' }], { session });
      expect(await ordersOf(weak).countDocuments({}, { session })).toBe(1);
    });
    expect(commits).toEqual([expect.objectContaining({ w: 'majority' })]);
    expect((await stepping.jobs.find('strong'))?.status).toBe('submitted');
  });

  it('refuses before anything is written: a connection that is closed, that is not registered, a name that is not known, a job that is too large', async () => {
    const stepping = await app();
    const body = async ({ session, job }: any) => {
      job.addStep(sendMail, { order: 1 });
      await ordersOf(connection).create([{ what: 'x' }], { session });
    };
    const other = await connected();
    expect(await errorOf(inTransaction(stepping, other, body))).toMatchObject({
      code: 'DB_UNKNOWN',
      message: expect.stringMatching(/mongooseDb\(/),
    });
    expect(await errorOf(inTransaction(stepping, { db: 'billing' }, body))).toMatchObject({
      code: 'DB_UNKNOWN',
      message: expect.stringMatching(/'billing'/),
    });
    expect(await errorOf(inTransaction(stepping, { connection: other, db: 'default' }, body))).toMatchObject({ code: 'DB_MISMATCH' });
    const large = inTransaction(stepping, { connection, gid: 'large' }, async ({ session, job }) => {
      await ordersOf(connection).create([{ what: 'x' }], { session });
      for (let i = 0; i < 20; i++) job.addStep(sendMail, { order: 'x'.repeat(250_000) as unknown as number });
    });
    expect(await errorOf(large)).toMatchObject({ code: 'JOB_TOO_LARGE' });
    expect(await orders()).toBe(0);
    await connection.close();
    expect(await errorOf(inTransaction(stepping, connection, body))).toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(/closed/),
    });
    expect(await errorOf(inTransaction(stepping, {}, body))).toMatchObject({ code: 'STORE_UNAVAILABLE' });
  });
});

/** What the server says to a transaction that it gave up. */
function transient(connection: Connection): Error {
  const { MongoServerError } = connection.base.mongo;
  return new MongoServerError({ message: 'write conflict', code: 112, errorLabels: ['TransientTransactionError'] });
}
