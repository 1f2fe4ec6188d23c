import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, it } from '@jest/globals';
import { DbProviders, TransactionManager } from '@stepping/core';
import type { ClientSession, Connection } from 'mongoose';
import { inTransaction, mongooseDb, mongooseTransaction } from '../src/index.js';
import { errorOf, sendMail, started, stopApps } from './support/apps.js';
import { openWire } from './support/cut-commit.js';
import { closeConnections, connected, mongodb, ordersOf } from './support/database.js';

const closing: (() => Promise<unknown>)[] = [];
let apps = 0;

afterEach(async () => {
  await stopApps();
  for (const close of closing.splice(0).reverse()) await close();
  await closeConnections();
});

mongodb.describe('a commit on MongoDB', () => {
  /** The application's connections go through the wire; the test looks on from beside it. */
  const setUp = async () => {
    const url = await mongodb.database();
    const direct = await connected(url);
    await ordersOf(direct).createCollection();
    const wire = await openWire(url);
    closing.push(() => wire.close());
    const appName = `commits-${process.pid}-${++apps}`;
    const connection = await connected(wire.url, { appName });
    const stepping = await started({ use: [mongooseDb({ connection })] });
    let runs = 0;
    const order = (gid?: string) =>
      inTransaction(stepping, { connection, gid }, async ({ session, job }) => {
        runs++;
        await ordersOf(connection).create([{ what: job.gid }], { session });
        job.addStep(sendMail, { order: 1 });
        return job.gid;
      });
    return {
      direct,
      wire,
      connection,
      stepping,
      order,
      runs: () => runs,
      orders: async () => (await ordersOf(direct).find()).map(({ what }) => what),
      statusOf: async (gid: string) => (await stepping.jobs.find(gid))?.status,
      /** The server answers commits of this client with an error and does nothing, so many times. */
      refuse: (times: number, data: object) => failCommits(direct, { times }, { ...data, appName }),
    };
  };

  it('whose answer is lost, again and again, has happened once: the caller is told so, and the job goes on', async () => {
    const { wire, order, orders, runs, statusOf } = await setUp();
    wire.cutCommits('after', 7);
    await order('unheard');
    expect([wire.cuts, runs()]).toEqual([7, 1]);
    expect([await orders(), await statusOf('unheard')]).toEqual([['unheard'], 'submitted']);
  });

  it('that does not reach the server is sent again', async () => {
    const { wire, order, orders, runs, statusOf } = await setUp();
    wire.cutCommits('before', 5);
    await order('late');
    expect([wire.cuts, runs()]).toEqual([5, 1]);
    expect([await orders(), await statusOf('late')]).toEqual([['late'], 'submitted']);
  });

  it('that the server refuses for good runs the body again; the job of the first run is rolled back', async () => {
    const { order, orders, runs, refuse, stepping, statusOf } = await setUp();
    const rolledBack: string[] = [];
    stepping.on('job.rolled-back', ({ gid }) => rolledBack.push(gid));
    await refuse(1, { errorCode: 251, errorLabels: ['TransientTransactionError'] });
    const gid = await order();
    expect(runs()).toBe(2);
    expect([await orders(), await statusOf(gid)]).toEqual([[gid], 'submitted']);
    expect(rolledBack).toHaveLength(1);
    expect(rolledBack).not.toContain(gid);
    expect(await statusOf(rolledBack[0] as string)).toBe('rolled-back');
  });

  it('that the server refuses for good leaves a gid of the user free for the next run', async () => {
    const { order, orders, runs, refuse, statusOf } = await setUp();
    await refuse(2, { errorCode: 251, errorLabels: ['TransientTransactionError'] });
    await order('mine');
    expect(runs()).toBe(3);
    expect([await orders(), await statusOf('mine')]).toEqual([['mine'], 'submitted']);
  });

  it('that may or may not have happened, as the time is over, is no failure: nobody can say while the transaction is open', async () => {
    const { order, orders, runs, refuse, stepping, statusOf, direct, connection } = await setUp();
    await refuse(1, { errorCode: 50 });
    const sessions = await sessionsOf(connection);
    expect(await errorOf(order('slow'))).toMatchObject({
      code: 'COMMIT_OUTCOME_UNKNOWN',
      details: { cause: expect.objectContaining({ code: 50 }) },
    });
    expect([runs(), await orders(), await statusOf('slow')]).toEqual([1, [], 'prepared']);
    // The server gives it up in the end, and then the question is answered.
    await kill(direct, sessions);
    const [database] = stepping.resolve(DbProviders).all();
    const { instance } = (await stepping.resolve(TransactionManager).find('slow')) ?? {};
    const ask = () => database?.resolveInDoubt('slow', instance as string, { provider: 'mongoose', name: 'default' });
    await until(async () => (await ask()) === 'rolled-back');
  });

  it('by the user whose answer is lost is found out by submit()', async () => {
    const { wire, connection, stepping, orders, statusOf } = await setUp();
    const session = await connection.startSession();
    const job = await prepared(stepping, connection, session);
    wire.cutCommits('after', 2);
    await errorOf(session.commitTransaction());
    expect(await job.submit()).toBe('submitted');
    expect([await orders(), await statusOf('mine')]).toEqual([['x'], 'submitted']);
    await session.endSession();
  });

  it('by the user that did not reach the server leaves the transaction open there: nobody knows, until it is sent again', async () => {
    const { wire, connection, stepping, orders, statusOf } = await setUp();
    const session = await connection.startSession();
    const job = await prepared(stepping, connection, session);
    wire.cutCommits('before', 2);
    await errorOf(session.commitTransaction());
    expect(await errorOf(job.submit())).toMatchObject({ code: 'COMMIT_OUTCOME_UNKNOWN' });
    expect(await job.resolve()).toBe('unknown');
    await session.commitTransaction();
    expect(await job.submit()).toBe('submitted');
    expect([await orders(), await statusOf('mine')]).toEqual([['x'], 'submitted']);
    await session.endSession();
  });

  it('by the user that never reaches the server is rolled back when the server gives the transaction up', async () => {
    const { wire, connection, direct, stepping, orders, statusOf } = await setUp();
    const session = await connection.startSession();
    const job = await prepared(stepping, connection, session);
    wire.cutCommits('before', 2);
    await errorOf(session.commitTransaction());
    await kill(direct, [session.id as object]); // as it does by itself after a minute
    await until(async () => (await job.resolve()) === 'rolled-back');
    expect(await job.submit()).toBe('rolled-back');
    expect([await orders(), await statusOf('mine')]).toEqual([[], 'rolled-back']);
    await session.endSession();
  });
});

async function prepared(stepping: Awaited<ReturnType<typeof started>>, connection: Connection, session: ClientSession) {
  session.startTransaction({ writeConcern: { w: 'majority' } });
  await ordersOf(connection).create([{ what: 'x' }], { session });
  const job = stepping.createJob({ transaction: mongooseTransaction(session, connection), gid: 'mine' }).addStep(sendMail, { order: 1 });
  await job.prepare();
  return job;
}

async function failCommits(connection: Connection, mode: object | 'off', data: object = {}): Promise<void> {
  const command = { configureFailPoint: 'failCommand', mode, data: { failCommands: ['commitTransaction'], ...data } };
  await connection.getClient().db('admin').command(command);
}

/** Keeps the ids of the sessions that this client starts from now on. */
async function sessionsOf(connection: Connection): Promise<object[]> {
  const ids: object[] = [];
  const start = connection.startSession.bind(connection);
  connection.startSession = async (...options) => {
    const session = await start(...options);
    ids.push(session.id as object);
    return session;
  };
  return ids;
}

async function until(isSo: () => Promise<boolean>): Promise<void> {
  while (!(await isSo())) await sleep(20);
}

async function kill(connection: Connection, sessions: readonly object[]): Promise<void> {
  await connection.getClient().db('admin').command({ killSessions: sessions });
}
