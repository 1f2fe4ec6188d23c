import { afterEach, expect, it } from '@jest/globals';
import type { DbTransaction } from '@stepping/core';
import type { DataSource } from 'typeorm';
import { typeormDb, typeormTransaction } from '../src/index.js';
import { errorOf, ran, sendMail, started, stopApps } from './support/apps.js';
import { mysqls, Order, postgres, sqlite } from './support/databases.js';

const opened: DataSource[] = [];

afterEach(async () => {
  await stopApps();
  for (const dataSource of opened.splice(0)) await dataSource.destroy();
});

for (const database of [sqlite, postgres, ...mysqls]) {
  const open = async () => {
    const dataSource = await database.open();
    opened.push(dataSource);
    return dataSource;
  };
  const setUp = async (options: object = {}) => {
    const dataSource = await open();
    const stepping = await started({ use: [typeormDb({ dataSource })], ...options });
    const runner = dataSource.createQueryRunner();
    const job = (transaction: DbTransaction, gid?: string) => stepping.createJob({ transaction, gid }).addStep(sendMail, { order: 1 });
    return { dataSource, stepping, runner, job, statusOf: async (gid: string) => (await stepping.jobs.find(gid))?.status };
  };
  const orders = (dataSource: DataSource) => dataSource.getRepository(Order).count();

  database.describe(`a transaction of the user's on ${database.name}`, () => {
    it('is committed by start(), with its job', async () => {
      const { dataSource, runner, job, statusOf } = await setUp();
      await runner.startTransaction();
      await runner.manager.save(Order, { what: 'x' });
      const { gid, duplicate } = await job(typeormTransaction(runner)).start();
      expect([duplicate, runner.isTransactionActive, await orders(dataSource), await statusOf(gid)]).toEqual([
        false,
        false,
        1,
        'submitted',
      ]);
      await runner.release();
    });

    it('is prepared, committed by the user, and then submitted', async () => {
      const { runner, job, statusOf } = await setUp();
      await runner.startTransaction();
      const mine = job(typeormTransaction(runner));
      await mine.prepare();
      expect(await statusOf(mine.gid)).toBe('prepared');
      expect(await errorOf(mine.submit())).toMatchObject({ code: 'TX_STILL_ACTIVE' });
      await runner.commitTransaction();
      expect(await mine.submit()).toBe('submitted');
      expect(await mine.resolve()).toBe('committed');
      await runner.release();
    });

    it('may be rolled back: submit() in a finally does no harm', async () => {
      const { runner, job, statusOf } = await setUp();
      await runner.startTransaction();
      const mine = job(typeormTransaction(runner));
      await mine.prepare();
      await runner.rollbackTransaction();
      expect(await mine.submit()).toBe('rolled-back');
      expect(await statusOf(mine.gid)).toBe('rolled-back');
      await runner.release();
    });

    it('that ended by statements of the user has ended, too', async () => {
      const { runner, job } = await setUp();
      await runner.startTransaction();
      const mine = job(typeormTransaction(runner));
      await mine.prepare();
      await runner.query('commit');
      expect(await mine.submit()).toBe('submitted');
    });

    it('is not mistaken for the next one of the same QueryRunner', async () => {
      const { runner, job } = await setUp();
      await runner.startTransaction();
      const first = typeormTransaction(runner);
      const mine = job(first);
      await mine.prepare();
      await runner.commitTransaction();
      await runner.startTransaction();
      const second = typeormTransaction(runner);
      expect([first.isActive(), second.isActive()]).toEqual([false, true]);
      await first.rollback();
      await first.close();
      expect(second.isActive()).toBe(true);
      // On SQLite the new one may hold the lock that a question would wait for; the look for the commit suffices.
      expect(await mine.submit()).toBe('submitted');
      await runner.rollbackTransaction();
      await runner.release();
    });

    it('may be named before it begins', async () => {
      const { runner, job } = await setUp();
      const transaction = typeormTransaction(runner);
      expect(transaction.isActive()).toBe(false);
      expect(await errorOf(job(transaction).prepare())).toMatchObject({ code: 'TX_NOT_ACTIVE' });
      await runner.startTransaction();
      expect(transaction.isActive()).toBe(true);
      await job(transaction).start();
    });

    it('is refused when it is nested, before anything is written', async () => {
      const { dataSource, runner, job, statusOf } = await setUp();
      await runner.startTransaction();
      await runner.startTransaction();
      const mine = job(typeormTransaction(runner));
      expect(await errorOf(mine.prepare())).toMatchObject({ code: 'TX_NESTED' });
      await runner.rollbackTransaction();
      await runner.rollbackTransaction();
      await runner.release();
      expect(await statusOf(mine.gid)).toBeUndefined();
      expect(await dataSource.query('select * from stepping_barrier')).toEqual([]);
    });

    it('is rolled back when start() is refused', async () => {
      const { dataSource, runner, job } = await setUp();
      await runner.startTransaction();
      await job(typeormTransaction(runner), 'taken').start();
      await runner.startTransaction();
      await runner.manager.save(Order, { what: 'x' });
      expect(await errorOf(job(typeormTransaction(runner), 'taken').start())).toMatchObject({ code: 'JOB_DUPLICATE' });
      expect([runner.isTransactionActive, await orders(dataSource)]).toEqual([false, 0]);
      await runner.release();
    });

    it('of another database than the one that is named is refused', async () => {
      const [main, other] = [await open(), await open()];
      const stepping = await started({ use: [typeormDb({ dataSource: main }), typeormDb({ name: 'other', dataSource: other })] });
      const runner = other.createQueryRunner();
      await runner.startTransaction();
      const prepare = (target: object) =>
        stepping
          .createJob({ transaction: typeormTransaction(runner, target) })
          .addStep(sendMail, { order: 1 })
          .prepare();
      const mismatch = await errorOf(prepare({ db: 'default' }));
      expect(mismatch).toMatchObject({
        code: 'DB_MISMATCH',
        message: expect.stringMatching(/another DataSource than the one registered as 'default'/),
      });
      expect(await errorOf(prepare({ db: 'nowhere' }))).toMatchObject({ code: 'DB_UNKNOWN' });
      await prepare({ db: 'other' });
      await prepare({});
      await runner.rollbackTransaction();
      await runner.release();
    });

    it("in the callback of TypeORM's transaction() is prepared inside and submitted after", async () => {
      const { dataSource, job, statusOf } = await setUp();
      const mine = await dataSource.transaction(async (manager) => {
        const transaction = typeormTransaction(manager);
        expect(transaction.commit).toBeUndefined();
        expect(await errorOf(job(transaction).start())).toMatchObject({ code: 'TX_NOT_OWNED' });
        await manager.save(Order, { what: 'x' });
        const inside = job(transaction);
        await inside.prepare();
        return inside;
      });
      expect(await mine.submit()).toBe('submitted');
      expect([await orders(dataSource), await statusOf(mine.gid)]).toEqual([1, 'submitted']);
    });

    it('is not to be found in the EntityManager of a DataSource', async () => {
      const { dataSource } = await setUp();
      expect(await errorOf(() => typeormTransaction(dataSource.manager))).toMatchObject({ code: 'TX_NOT_ACTIVE' });
    });

    it('whose process dies before submit() runs its job all the same, or never', async () => {
      const { dataSource, job, stepping, runner } = await setUp({ runs: true });
      for (const ending of ['commitTransaction', 'rollbackTransaction'] as const) {
        await runner.startTransaction();
        await runner.manager.save(Order, { what: ending });
        const mine = job(typeormTransaction(runner), ending);
        await mine.prepare();
        await runner[ending]();
      }
      await runner.release();
      await stepping.jobs.wait('commitTransaction', { timeoutMs: 50_000 });
      await stepping.jobs.wait('rollbackTransaction', { timeoutMs: 50_000 });
      expect(ran.splice(0)).toEqual(['commitTransaction']);
      expect((await stepping.jobs.find('rollbackTransaction'))?.status).toBe('rolled-back');
      expect(await orders(dataSource)).toBe(1);
    });
  });
}

postgres.describe("a transaction of the user's on PostgreSQL, in particular", () => {
  it('ends with a connection that the server closes', async () => {
    const dataSource = await postgres.open();
    opened.push(dataSource);
    const stepping = await started({ use: [typeormDb({ dataSource })] });
    const runner = dataSource.createQueryRunner();
    await runner.startTransaction();
    const transaction = typeormTransaction(runner);
    const job = stepping.createJob({ transaction }).addStep(sendMail, { order: 1 });
    await job.prepare();
    const [{ pid }] = await runner.query('select pg_backend_pid() as pid');
    await dataSource.query('select pg_terminate_backend($1)', [pid]);
    while (transaction.isActive()) await new Promise((resolve) => setImmediate(resolve));
    expect(await job.submit()).toBe('rolled-back');
  });

  it('passes a serialization failure of the barrier on as it is', async () => {
    const dataSource = await postgres.open();
    opened.push(dataSource);
    await started({ use: [typeormDb({ dataSource })] });
    const runner = dataSource.createQueryRunner();
    await runner.startTransaction('REPEATABLE READ');
    const transaction = typeormTransaction(runner);
    await runner.query('select 1'); // takes the snapshot
    await dataSource.query(
      "insert into stepping_barrier (trans_type, gid, branch_id, op, barrier_id, reason) values ('msg', 'g', '00', 'msg', 'i', 'rollback')",
    );
    const error = await errorOf(transaction.insertBarrier('g', 'i'));
    expect(error).toMatchObject({ driverError: { code: '40001' } });
    expect(transaction.commitOutcome?.(error)).toBe('not-committed');
    await runner.rollbackTransaction();
    await runner.release();
  });
});

for (const database of mysqls) {
  database.describe(`a transaction of the user's on ${database.name}, in particular`, () => {
    it('ends with a connection that the server closes', async () => {
      const dataSource = await database.open();
      opened.push(dataSource);
      const stepping = await started({ use: [typeormDb({ dataSource })] });
      const runner = dataSource.createQueryRunner();
      await runner.startTransaction();
      const transaction = typeormTransaction(runner);
      const job = stepping.createJob({ transaction }).addStep(sendMail, { order: 1 });
      await job.prepare();
      const [{ id }] = await runner.query('select connection_id() as id');
      await dataSource.query(`kill ${id}`);
      while (transaction.isActive()) await new Promise((resolve) => setImmediate(resolve));
      expect(await job.submit()).toBe('rolled-back');
      await runner.release();
    });

    it('that was rolled back by a deadlock before it was named starts no job', async () => {
      const dataSource = await database.open();
      opened.push(dataSource);
      const stepping = await started({ use: [typeormDb({ dataSource })] });
      const runner = dataSource.createQueryRunner();
      await runner.startTransaction();
      await runner.manager.save(Order, { what: 'lost' });
      // As a deadlock does it: TypeORM knows nothing of it.
      const connection: { query(sql: string, done: () => void): void } = await runner.connect();
      await new Promise<void>((resolve) => connection.query('rollback', resolve));
      const job = stepping.createJob({ transaction: typeormTransaction(runner), gid: 'late' }).addStep(sendMail, { order: 1 });
      expect(await errorOf(job.start())).toMatchObject({ code: 'TX_NOT_ACTIVE' });
      expect(await stepping.jobs.find('late')).toBeUndefined();
      expect(await dataSource.query('select * from stepping_barrier')).toEqual([]);
      await runner.release();
    });
  });
}
