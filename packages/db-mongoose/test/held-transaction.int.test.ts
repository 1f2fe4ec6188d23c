import { afterAll, afterEach, beforeEach, expect, it } from '@jest/globals';
import type { Stepping } from '@stepping/core';
import type { ClientSession, Connection } from 'mongoose';
import { barriersIn, keysOf } from '../src/barrier-collection.js';
import { mongooseDb, mongooseTransaction } from '../src/index.js';
import { errorOf, sendMail, started, stopApps } from './support/apps.js';
import { closeConnections, connected, mongodb, ordersOf } from './support/database.js';

mongodb.describe('a transaction that the user holds on MongoDB', () => {
  let connection: Connection;
  let stepping: Stepping;
  let session: ClientSession;
  beforeEach(async () => {
    connection = await connected();
    stepping = await started({ use: [mongooseDb({ connection })] });
    session = await connection.startSession();
  });
  afterEach(async () => {
    await session.endSession();
    await stopApps();
  });
  afterAll(closeConnections);

  const begin = (options: object = { writeConcern: { w: 'majority' } }) => session.startTransaction(options);
  const place = (what = 'book') => ordersOf(connection).create([{ what }], { session });
  const orders = () => ordersOf(connection).countDocuments();
  const jobOn = (transaction = mongooseTransaction(session, connection), gid = 'g') =>
    stepping.createJob({ transaction, gid }).addStep(sendMail, { order: 1 });
  const statusOf = async (gid = 'g') => (await stepping.jobs.find(gid))?.status;
  const barriers = (gid = 'g') => barriersIn(connection).countDocuments({ _id: keysOf(gid) });

  it('is committed by start()', async () => {
    begin();
    await place();
    await jobOn().start();
    expect(session.inTransaction()).toBe(false);
    expect([await orders(), await statusOf()]).toEqual([1, 'submitted']);
  });

  it('is committed by the user between prepare() and submit()', async () => {
    begin();
    await place();
    const job = jobOn();
    await job.prepare();
    expect(await statusOf()).toBe('prepared');
    expect(await errorOf(job.submit())).toMatchObject({ code: 'TX_STILL_ACTIVE' });
    await session.commitTransaction();
    expect(await job.submit()).toBe('submitted');
    expect([await orders(), await statusOf()]).toEqual([1, 'submitted']);
  });

  it('that was aborted is found out by submit()', async () => {
    begin();
    await place();
    const job = jobOn();
    await job.prepare();
    await session.abortTransaction();
    expect(await job.submit()).toBe('rolled-back');
    expect([await orders(), await statusOf()]).toEqual([0, 'rolled-back']);
  });

  it('takes several jobs', async () => {
    begin();
    const jobs = ['a', 'b'].map((gid) => jobOn(undefined, gid));
    for (const job of jobs) await job.prepare();
    expect(await errorOf(jobOn(undefined, 'c').start())).toMatchObject({ code: 'TX_NOT_OWNED' });
    await session.abortTransaction();
    begin();
    const again = ['a', 'b'].map((gid) => jobOn(undefined, `${gid}2`));
    for (const job of again) await job.prepare();
    await session.commitTransaction();
    for (const job of again) expect(await job.submit()).toBe('submitted');
    for (const job of jobs) expect(await job.submit()).toBe('rolled-back');
  });

  it('may be that of connection.transaction(): started inside, or submitted after it', async () => {
    await connection.transaction(async (mine) => {
      await ordersOf(connection).create([{ what: 'x' }], { session: mine });
      await stepping
        .createJob({ transaction: mongooseTransaction(mine, connection), gid: 'inside' })
        .addStep(sendMail, { order: 1 })
        .start();
    });
    const job = await connection.transaction(async (mine) => {
      const made = stepping.createJob({ transaction: mongooseTransaction(mine, connection), gid: 'after' }).addStep(sendMail, { order: 1 });
      await made.prepare();
      return made;
    });
    expect(await job.submit()).toBe('submitted');
    expect([await orders(), await statusOf('inside'), await statusOf('after')]).toEqual([1, 'submitted', 'submitted']);
  });

  it('is one transaction of the session, not a later one', async () => {
    begin();
    const job = jobOn();
    await place();
    await session.abortTransaction();
    begin();
    await place();
    expect(await errorOf(job.start())).toMatchObject({ code: 'TX_NOT_ACTIVE' });
    expect(session.inTransaction()).toBe(true);
    expect([await barriers(), await statusOf()]).toEqual([0, undefined]);
  });

  it('that the driver runs again is another one for the job of the first run', async () => {
    let first: ReturnType<typeof jobOn> | undefined;
    await connection.transaction(async (mine) => {
      await ordersOf(connection).create([{ what: 'x' }], { session: mine });
      if (first === undefined) {
        first = stepping.createJob({ transaction: mongooseTransaction(mine, connection) }).addStep(sendMail, { order: 1 });
        const { MongoServerError } = connection.base.mongo;
        throw new MongoServerError({ message: 'again', code: 112, errorLabels: ['TransientTransactionError'] });
      }
      expect(await errorOf(first.prepare())).toMatchObject({ code: 'TX_NOT_ACTIVE' });
    });
  });

  it('is left without a barrier when the transaction manager refuses the job', async () => {
    begin();
    await place();
    await jobOn().start();
    begin();
    await place();
    expect(await errorOf(jobOn().prepare())).toMatchObject({ code: 'JOB_DUPLICATE' });
    await session.commitTransaction(); // the user goes on all the same
    expect([await orders(), await barriers()]).toEqual([2, 1]);
  });

  it('is over when its barrier is there already', async () => {
    begin();
    await place();
    const job = jobOn();
    await barriersIn(connection).insertOne({ _id: `g/00/msg/${(job as any).instance}`, reason: 'rollback', created_at: new Date() });
    // Seen after the snapshot was taken it is a write conflict, with MongoDB's own label; before, it is a duplicate.
    expect(await errorOf(job.start())).toMatchObject({ code: 112 });
    begin();
    const next = jobOn();
    await barriersIn(connection).insertOne({ _id: `g/00/msg/${(next as any).instance}`, reason: 'rollback', created_at: new Date() });
    expect(await errorOf(next.start())).toMatchObject({ code: 'BARRIER_EXISTS' });
    expect([session.inTransaction(), await orders(), await statusOf()]).toEqual([false, 0, undefined]);
  });

  it('that has ended takes no barrier any more: the driver would write it at once, outside of any transaction', async () => {
    for (const end of ['commitTransaction', 'abortTransaction'] as const) {
      begin();
      const transaction = mongooseTransaction(session, connection);
      await place();
      await session[end]();
      expect(await errorOf(transaction.insertBarrier('g', 'i'))).toMatchObject({ code: 'TX_NOT_ACTIVE' });
      expect(await errorOf(transaction.deleteBarrier('g', 'i'))).toMatchObject({ code: 'TX_NOT_ACTIVE' });
      expect(await barriers()).toBe(0);
    }
  });

  describe('is refused before anything is written', () => {
    const refused = async (job: ReturnType<typeof jobOn>, expected: object) => {
      expect(await errorOf(job.prepare())).toMatchObject(expected);
      expect([await barriers(job.gid), await statusOf(job.gid)]).toEqual([0, undefined]);
    };

    it('on a session without a transaction', async () => {
      await refused(jobOn(), { code: 'TX_NOT_ACTIVE' });
    });

    it('on a session whose transaction has ended, one way or the other', async () => {
      for (const end of ['commitTransaction', 'abortTransaction'] as const) {
        begin();
        await place();
        const job = jobOn(undefined, end);
        await session[end]();
        await refused(job, { code: 'TX_NOT_ACTIVE' });
      }
    });

    it('on a session that has ended', async () => {
      begin();
      await place();
      const job = jobOn();
      await session.endSession();
      await refused(job, { code: 'TX_NOT_ACTIVE' });
    });

    it('on a session of another client', async () => {
      const other = await connected(await mongodb.database('other'));
      const foreign = await other.startSession();
      foreign.startTransaction();
      await refused(jobOn(mongooseTransaction(foreign, connection)), {
        code: 'DB_MISMATCH',
        message: expect.stringMatching(/another client/),
      });
      await refused(jobOn(mongooseTransaction(foreign, { db: 'default' })), { code: 'DB_MISMATCH' });
      await refused(jobOn(mongooseTransaction(foreign, other)), { code: 'DB_UNKNOWN' });
      await foreign.endSession();
    });

    it('on another database of the same client, which the query-back would not ask', async () => {
      begin();
      const other = connection.useDb(`${connection.name}_2`);
      await refused(jobOn(mongooseTransaction(session, other)), { code: 'DB_UNKNOWN' });
    });

    it('with a write concern below the majority', async () => {
      for (const writeConcern of [{ w: 1 }, { w: 2 }, { w: 'majority' as const, j: false }, { w: 'somewhere' }]) {
        begin({ writeConcern });
        await refused(jobOn(), { code: 'STORE_REFUSED', message: expect.stringMatching(/majority/) });
        await session.abortTransaction();
      }
    });

    it('for something that is no session', () => {
      for (const wrong of [undefined, {}, connection]) {
        expect(() => mongooseTransaction(wrong as never, connection)).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
      }
    });

    it('on a connection that is closed', async () => {
      begin();
      await place();
      const job = jobOn();
      const { client } = session as unknown as { client: { close(): Promise<void> } };
      await client.close();
      expect(await errorOf(job.prepare())).toMatchObject({ code: expect.stringMatching(/TX_NOT_ACTIVE|STORE_UNAVAILABLE/) });
    });
  });

  it('that says nothing of a write concern commits with a majority', async () => {
    const watched = await connected(await mongodb.database('watched'), { monitorCommands: true });
    const app = await started({ use: [mongooseDb({ connection: watched })] });
    const commits: unknown[] = [];
    watched.getClient().on('commandStarted', ({ commandName, command }) => {
      if (commandName === 'commitTransaction') commits.push(command.writeConcern);
    });
    const mine = await watched.startSession();
    mine.startTransaction();
    const job = app.createJob({ transaction: mongooseTransaction(mine, watched) }).addStep(sendMail, { order: 1 });
    await job.prepare();
    await mine.commitTransaction();
    expect(commits).toEqual([expect.objectContaining({ w: 'majority' })]);
    await mine.endSession();
  });
});
