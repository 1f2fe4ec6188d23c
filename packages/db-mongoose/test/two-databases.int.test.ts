import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, it } from '@jest/globals';
import { inTransaction as inSqlTransaction, typeormDb } from '@stepping/db-typeorm';
import { localTm } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { mongooseStore } from '@stepping/tm-local-mongoose';
import { typeormStore } from '@stepping/tm-local-typeorm';
import { DataSource } from 'typeorm';
import { inTransaction, mongooseDb, mongooseTransaction } from '../src/index.js';
import { errorOf, ran, sendMail, started, stopApps } from './support/apps.js';
import { closeConnections, connected, mongodb, ordersOf } from './support/database.js';

const closing: (() => unknown)[] = [];

afterEach(async () => {
  await stopApps();
  for (const close of closing.splice(0).reverse()) await close();
  await closeConnections();
  ran.length = 0;
});

/** A SQLite file: no other server is needed to show that the two kinds do not know each other. */
async function sqlite(): Promise<DataSource> {
  const folder = mkdtempSync(join(tmpdir(), 'stepping-db-mongoose-'));
  closing.push(() => rmSync(folder, { recursive: true, force: true }));
  const dataSource = await new DataSource({ type: 'better-sqlite3', database: join(folder, 'x.sqlite'), enableWAL: true }).initialize();
  closing.push(() => dataSource.destroy());
  await dataSource.query('create table orders (what text not null)');
  return dataSource;
}

const processor = () => hostedProcessor({ maxPollMs: 50 });

mongodb.describe('orders in MongoDB', () => {
  it('and jobs in SQL: steps run if, and only if, the transaction committed', async () => {
    const [connection, dataSource] = [await connected(), await sqlite()];
    const tm = localTm({ store: typeormStore({ dataSource }), processor: processor(), prepareTimeoutMs: 300 });
    const stepping = await started({ tm, use: [mongooseDb({ connection })] });
    const place = (gid: string, error?: Error) =>
      inTransaction(stepping, { connection, gid }, async ({ session, job }) => {
        await ordersOf(connection).create([{ what: gid }], { session });
        job.addStep(sendMail, { order: 1 });
        if (error) throw error;
      });
    const boom = new Error('boom');
    expect(await errorOf(place('refused', boom))).toBe(boom);
    await place('placed');
    expect((await stepping.jobs.wait('placed', { timeoutMs: 50_000 })).status).toBe('succeeded');
    expect([ran, await ordersOf(connection).countDocuments(), await stepping.jobs.find('refused')]).toEqual([['placed'], 1, undefined]);
  });

  it('and jobs in SQL: the query-back finds out what became of a transaction whose process said nothing more', async () => {
    const [connection, dataSource] = [await connected(), await sqlite()];
    const tm = localTm({ store: typeormStore({ dataSource }), processor: processor(), prepareTimeoutMs: 300 });
    const stepping = await started({ tm, use: [mongooseDb({ connection })] });
    const prepared = async (gid: string) => {
      const session = await connection.startSession();
      session.startTransaction();
      await ordersOf(connection).create([{ what: gid }], { session });
      await stepping
        .createJob({ transaction: mongooseTransaction(session, connection), gid })
        .addStep(sendMail, { order: 1 })
        .prepare();
      return session;
    };
    const [committed, aborted, open] = [await prepared('committed'), await prepared('aborted'), await prepared('open')];
    await committed.commitTransaction();
    await aborted.abortTransaction();
    expect((await stepping.jobs.wait('committed', { timeoutMs: 50_000 })).status).toBe('succeeded');
    expect((await stepping.jobs.wait('aborted', { timeoutMs: 50_000 })).status).toBe('rolled-back');
    expect((await stepping.jobs.find('open'))?.status).toBe('prepared');
    await open.commitTransaction(); // asked about meanwhile, and not disturbed
    expect((await stepping.jobs.wait('open', { timeoutMs: 60_000 })).status).toBe('succeeded');
    await Promise.all([committed, aborted, open].map((session) => session.endSession()));
  }, 90_000);
});

mongodb.describe('orders in SQL', () => {
  it('and jobs in MongoDB: steps run if, and only if, the transaction committed', async () => {
    const [connection, dataSource] = [await connected(), await sqlite()];
    const tm = localTm({ store: mongooseStore({ connection }), processor: processor() });
    const stepping = await started({ tm, use: [typeormDb({ dataSource })] });
    const place = (gid: string, error?: Error) =>
      inSqlTransaction(stepping, { dataSource, gid }, async ({ manager, job }) => {
        await manager.query('insert into orders values (?)', [gid]);
        job.addStep(sendMail, { order: 1 });
        if (error) throw error;
      });
    const boom = new Error('boom');
    expect(await errorOf(place('refused', boom))).toBe(boom);
    await place('placed');
    expect((await stepping.jobs.wait('placed', { timeoutMs: 50_000 })).status).toBe('succeeded');
    expect(await errorOf(place('placed'))).toMatchObject({ code: 'JOB_DUPLICATE' });
    expect([ran, await dataSource.query('select * from orders'), await stepping.jobs.find('refused')]).toEqual([
      ['placed'],
      [{ what: 'placed' }],
      undefined,
    ]);
  });
});
