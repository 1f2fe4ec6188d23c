import { afterEach, expect, it } from '@jest/globals';
import type { DataSource, EntityManager, QueryRunner } from 'typeorm';
import { inTransaction, once, typeormDb, typeormTransaction } from '../src/index.js';
import { errorOf, sendMail, started } from './support/apps.js';
import { mysqls, Order, postgres, sqliteWithoutWal, type TestDatabase } from './support/databases.js';
import { closeAll, opened, throughWire } from './support/opened.js';

afterEach(closeAll);

async function setUp(database: TestDatabase) {
  const { direct, wire, dataSource } = await throughWire(database);
  const stepping = await started({ use: [typeormDb({ dataSource })] });
  const order = (gid: string, what = gid) =>
    inTransaction(stepping, { dataSource, gid }, async ({ manager, job }) => {
      await manager.save(Order, { what });
      job.addStep(sendMail, { order: 1 });
    });
  const orders = () => direct.getRepository(Order).count();
  return { direct, wire, dataSource, stepping, order, orders, statusOf: async (gid: string) => (await stepping.jobs.find(gid))?.status };
}

/** How many connections the pool has, and how many of them nobody uses. */
function poolOf(dataSource: DataSource): { total: number; idle: number } {
  const { master, pool } = dataSource.driver as unknown as {
    master?: { totalCount: number; idleCount: number };
    pool?: { _allConnections: { length: number }; _freeConnections: { length: number } };
  };
  if (master !== undefined) return { total: master.totalCount, idle: master.idleCount };
  return { total: pool?._allConnections.length ?? -1, idle: pool?._freeConnections.length ?? -2 };
}

for (const database of [postgres, ...mysqls]) {
  database.describe(`a commit on ${database.name}`, () => {
    it('whose answer is lost has happened: the caller is told so, and the job goes on', async () => {
      const { wire, order, orders, statusOf } = await setUp(database);
      wire.cutNextCommit('after');
      await order('unheard');
      expect(await orders()).toBe(1);
      expect(await statusOf('unheard')).toBe('submitted');
    });

    it('that never reached the server has not happened: the error of the driver passes, and the gid can be used again', async () => {
      const { wire, order, orders, statusOf } = await setUp(database);
      wire.cutNextCommit('before');
      const error = await errorOf(order('cut'));
      expect(error).toMatchObject({ name: 'QueryFailedError', query: 'COMMIT' });
      expect(await orders()).toBe(0);
      expect(await statusOf('cut')).toBe('rolled-back');
      await order('cut');
      expect([await orders(), await statusOf('cut')]).toEqual([1, 'submitted']);
    });

    it('by the user whose answer is lost is found out by submit()', async () => {
      for (const [how, outcome] of [
        ['after', 'submitted'],
        ['before', 'rolled-back'],
      ] as const) {
        const { wire, dataSource, stepping, statusOf } = await setUp(database);
        const runner = dataSource.createQueryRunner();
        await runner.startTransaction();
        const job = stepping.createJob({ transaction: typeormTransaction(runner), gid: 'mine' }).addStep(sendMail, { order: 1 });
        await job.prepare();
        wire.cutNextCommit(how);
        await errorOf(runner.commitTransaction());
        await runner.release();
        expect(await job.submit()).toBe(outcome);
        expect(await statusOf('mine')).toBe(outcome);
      }
    });

    it('leaves no connection behind, however it ended', async () => {
      const { wire, dataSource, order } = await setUp(database);
      for (const how of ['before', 'after', 'before', 'after'] as const) {
        wire.cutNextCommit(how);
        await order(`${how}-${Math.random().toString(36).slice(2)}`).catch(() => {});
      }
      const { total, idle } = poolOf(dataSource);
      expect(total).toBe(idle);
    });
  });
}

postgres.describe('a commit on PostgreSQL, in particular', () => {
  it('that the server refuses has not happened', async () => {
    const { direct, order, orders, statusOf } = await setUp(postgres);
    await direct.query('alter table "order" add unique (what) deferrable initially deferred');
    await order('first', 'book');
    expect(await errorOf(order('second', 'book'))).toMatchObject({ query: 'COMMIT', driverError: { code: '23505' } });
    expect([await orders(), await statusOf('first'), await statusOf('second')]).toEqual([1, 'submitted', 'rolled-back']);
  });

  it('of a transaction whose failed statement was swallowed is refused, also when the server says late that it has failed', async () => {
    const { wire, dataSource, stepping, orders } = await setUp(postgres);
    wire.splitErrors();
    const swallow = async ({ manager }: { manager: EntityManager }) => {
      await manager.save(Order, { what: 'lost' });
      await errorOf(manager.query('select 1/0'));
    };
    expect(await errorOf(inTransaction(stepping, dataSource, swallow))).toMatchObject({ code: 'TX_NOT_ACTIVE' });
    expect(await errorOf(once(dataSource, 'key', (manager) => swallow({ manager })))).toMatchObject({ code: 'TX_NOT_ACTIVE' });
    expect(await orders()).toBe(0);
  });

  it('by a backend that is shut down in the middle of it has not happened, and the caller is told so', async () => {
    const { direct, order, orders, statusOf } = await setUp(postgres);
    await direct.query(`create function die() returns trigger language plpgsql as
      'begin perform pg_terminate_backend(pg_backend_pid()); perform pg_sleep(10); return null; end'`);
    await direct.query(
      'create constraint trigger die after insert on "order" deferrable initially deferred for each row execute function die()',
    );
    expect(await errorOf(order('shut-down'))).toMatchObject({ driverError: { code: '57P01' } });
    expect(await orders()).toBe(0);
    expect(await statusOf('shut-down')).toBe('rolled-back');
  });
});

for (const database of mysqls) {
  database.describe(`a transaction on ${database.name} that the server has ended behind everybody's back`, () => {
    /** Two rows, of which another transaction has locked the second and wants the first. */
    const deadlock = async ({ manager }: { manager: EntityManager }, direct: DataSource) => {
      const rival = direct.createQueryRunner();
      await rival.startTransaction();
      // The one that has written less is the victim.
      for (let i = 0; i < 5; i++) await rival.manager.save(Order, { what: `rival ${i}` });
      await rival.query('update `order` set what = ? where id = 2', ['rival']);
      await manager.query('update `order` set what = ? where id = 1', ['mine']);
      const waiting = rival.query('update `order` set what = ? where id = 1', ['rival']);
      const error = await errorOf(manager.query('update `order` set what = ? where id = 2', ['mine']));
      await waiting;
      await rival.rollbackTransaction();
      await rival.release();
      return error;
    };
    const setUpRows = async () => {
      const all = await setUp(database);
      await all.direct.getRepository(Order).save([{ what: 'first' }, { what: 'second' }]);
      return all;
    };

    it('by a deadlock whose error was swallowed is not taken for committed', async () => {
      const { direct, stepping, dataSource, orders, statusOf } = await setUpRows();
      const error = await errorOf(
        inTransaction(stepping, { dataSource, gid: 'with-a-job' }, async ({ manager, job }) => {
          await manager.save(Order, { what: 'lost' });
          expect(await deadlock({ manager }, direct)).toMatchObject({ driverError: { errno: 1213 } });
          job.addStep(sendMail, { order: 1 });
        }),
      );
      expect(error).toMatchObject({ code: 'TX_NOT_ACTIVE' });
      expect(await statusOf('with-a-job')).toBeUndefined();
      expect(await errorOf(inTransaction(stepping, dataSource, (tx) => deadlock(tx, direct)))).toMatchObject({ code: 'TX_NOT_ACTIVE' });
      expect(await orders()).toBe(2);
    });

    it('by a deadlock passes the error on as it is, so that a retry loop sees it', async () => {
      const { direct, stepping, dataSource, order, orders } = await setUpRows();
      const error = await errorOf(
        inTransaction(stepping, { dataSource, gid: 'again' }, async ({ manager, job }) => {
          job.addStep(sendMail, { order: 1 });
          throw await deadlock({ manager }, direct);
        }),
      );
      expect(error).toMatchObject({ driverError: { errno: 1213 } });
      await order('again');
      expect(await orders()).toBe(3);
    });

    it('by a change of the schema, which commits it, is told', async () => {
      const { stepping, dataSource, statusOf } = await setUpRows();
      const error = await errorOf(
        inTransaction(stepping, { dataSource, gid: 'ddl' }, async ({ manager, job }) => {
          await manager.query('create table made_inside (id integer primary key)');
          job.addStep(sendMail, { order: 1 });
        }),
      );
      expect(error).toMatchObject({ code: 'TX_NOT_ACTIVE' });
      expect(await statusOf('ddl')).toBeUndefined();
    });

    it('by KILL has not happened: the caller gets the error of the driver', async () => {
      const { direct, stepping, dataSource, orders, statusOf } = await setUpRows();
      const error = await errorOf(
        inTransaction(stepping, { dataSource, gid: 'killed' }, async ({ manager, job }) => {
          await manager.save(Order, { what: 'lost' });
          const [{ id }] = await manager.query('select connection_id() as id');
          await direct.query(`kill ${id}`);
          job.addStep(sendMail, { order: 1 });
        }),
      );
      expect(error.code === 'TX_NOT_ACTIVE' || error.name === 'QueryFailedError').toBe(true);
      expect([await orders(), await statusOf('killed')]).toEqual([2, undefined]);
    });
  });
}

sqliteWithoutWal.describe('a commit on SQLite', () => {
  const lock = async (dataSource: DataSource): Promise<QueryRunner> => {
    const reader = (await opened(sqliteWithoutWal.another(dataSource))).createQueryRunner();
    await reader.query('begin');
    await reader.query('select * from "order"');
    return reader;
  };

  it('waits for the readers of other processes, without WAL', async () => {
    const dataSource = await opened(await sqliteWithoutWal.open());
    const stepping = await started({ use: [typeormDb({ dataSource })] });
    const reader = await lock(dataSource);
    let isDone = false;
    const done = inTransaction(stepping, dataSource, async ({ manager, job }) => {
      await manager.save(Order, { what: 'x' });
      job.addStep(sendMail, { order: 1 });
    }).finally(() => {
      isDone = true;
    });
    for (let i = 0; i < 50; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(isDone).toBe(false);
    await reader.query('commit');
    await done;
    expect(await dataSource.getRepository(Order).count()).toBe(1);
  });

  it('that is refused because others read leaves nothing open, and the user may try again', async () => {
    const dataSource = await opened(await sqliteWithoutWal.open({ timeout: 0 }));
    const stepping = await started({ use: [typeormDb({ dataSource })] });
    const reader = await lock(dataSource);
    const runner = dataSource.createQueryRunner();
    await runner.startTransaction();
    await runner.manager.save(Order, { what: 'x' });
    const job = stepping.createJob({ transaction: typeormTransaction(runner), gid: 'busy' }).addStep(sendMail, { order: 1 });
    expect(await errorOf(job.start())).toMatchObject({ driverError: { code: 'SQLITE_BUSY' } });
    expect(runner.isTransactionActive).toBe(false);
    await reader.query('commit');
    expect((await stepping.jobs.find('busy'))?.status).toBe('rolled-back');
    expect(await dataSource.getRepository(Order).count()).toBe(0);
  });
});
