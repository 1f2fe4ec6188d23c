import { afterEach, expect, it } from '@jest/globals';
import { type AnyStep, defineStep, type Stepping, stepScopeOf, unchecked } from '@stepping/core';
import { localTm } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { typeormStore } from '@stepping/tm-local-typeorm';
import type { DataSource } from 'typeorm';
import { inTransaction, once, typeormDb, typeormTransaction } from '../src/index.js';
import { errorOf, sendMail, started, stopApps } from './support/apps.js';
import { mysqls, Order, postgres, sqlite } from './support/databases.js';

const opened: DataSource[] = [];

afterEach(async () => {
  await stopApps();
  for (const dataSource of opened.splice(0)) await dataSource.destroy();
});

for (const database of [sqlite, postgres, ...mysqls]) {
  /** Jobs and orders in one database. */
  const setUp = async ({ runs = false, ...options }: { runs?: boolean; steps?: readonly AnyStep[] } = {}) => {
    const dataSource = await database.open({ poolSize: 5 });
    opened.push(dataSource);
    const stepping: Stepping = await started({
      tm: localTm({ store: typeormStore({ dataSource }), processor: runs && hostedProcessor() }),
      use: [typeormDb({ dataSource })],
      ...options,
    });
    return { dataSource, stepping, statusOf: async (gid: string) => (await stepping.jobs.find(gid))?.status };
  };
  const barriers = (dataSource: DataSource) => dataSource.query('select * from stepping_barrier');

  database.describe(`jobs in the database of the transaction, on ${database.name}`, () => {
    it('are written by the transaction itself: no barrier, nothing in doubt', async () => {
      const { dataSource, stepping, statusOf } = await setUp();
      const gid = await inTransaction(stepping, dataSource, async ({ manager, job }) => {
        await manager.save(Order, { what: 'x' });
        return job.addStep(sendMail, { order: 1 }).gid;
      });
      expect([await statusOf(gid), await dataSource.getRepository(Order).count()]).toEqual(['submitted', 1]);
      expect(await barriers(dataSource)).toEqual([]);
    });

    it('are asked for their lease while the transaction of once() is open, and keep where its barrier is', async () => {
      let dataSource: DataSource | undefined;
      const seen: unknown[] = [];
      const effect = defineStep({
        name: 'effect',
        run: async (context) => {
          const open = dataSource as DataSource;
          const isOurs = () => stepScopeOf(context)?.claim.isStillOurs();
          const { ran } = await once(open, context, async (manager) => {
            await manager.save(Order, { what: 'x' });
            seen.push(await isOurs());
          });
          seen.push(ran);
        },
      });
      const app = await setUp({ runs: true, steps: [effect] });
      dataSource = app.dataSource;
      const { gid } = await app.stepping.createJob().addStep(effect).start();
      expect(await app.stepping.jobs.wait(gid, { timeoutMs: 50_000 })).toMatchObject({ status: 'succeeded' });
      expect(seen).toEqual([true, true]);
      const rows = await dataSource.query('select barrier_dbs from stepping_job');
      expect(rows.map((row: any) => JSON.parse(row.barrier_dbs).map((db: string) => JSON.parse(db)))).toEqual([
        [{ provider: 'typeorm', name: 'default' }],
      ]);
    });

    it('are rolled back with it', async () => {
      const { dataSource, stepping, statusOf } = await setUp();
      const runner = dataSource.createQueryRunner();
      await runner.startTransaction();
      const job = stepping.createJob({ transaction: typeormTransaction(runner) }).addStep(sendMail, { order: 1 });
      await job.prepare();
      await runner.rollbackTransaction();
      await runner.release();
      expect(await job.submit()).toBe('rolled-back');
      expect(await statusOf(job.gid)).not.toBe('submitted');
    });

    it("belong to the user's own commit as well, by a QueryRunner and in the callback of TypeORM's transaction()", async () => {
      const { dataSource, stepping, statusOf } = await setUp();
      const job = await dataSource.transaction(async (manager) => {
        const inside = stepping.createJob({ transaction: typeormTransaction(manager) }).addStep(sendMail, { order: 1 });
        await inside.prepare();
        return inside;
      });
      expect(await job.submit()).toBe('submitted');
      const runner = dataSource.createQueryRunner();
      await runner.startTransaction();
      const { gid } = await stepping
        .createJob({ transaction: typeormTransaction(runner) })
        .addStep(sendMail, { order: 2 })
        .start();
      await runner.release();
      expect([await statusOf(job.gid), await statusOf(gid)]).toEqual(['submitted', 'submitted']);
    });

    it('are started once for each gid, and the second business transaction is rolled back', async () => {
      const { dataSource, stepping } = await setUp();
      const order = () =>
        inTransaction(stepping, { dataSource, gid: 'order-7' }, async ({ manager, job }) => {
          job.addStep(sendMail, { order: (await manager.save(Order, { what: 'x' })).id });
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
      expect(await dataSource.getRepository(Order).count()).toBe(1);
    });

    it('run, 300 of them started at once, and their steps write to the same database', async () => {
      let app: Stepping | undefined;
      let database: DataSource | undefined;
      const close = defineStep({
        name: 'order.close',
        args: unchecked<{ id: number }>(),
        async run({ args }) {
          if (app && database) await inTransaction(app, database, ({ manager }) => manager.update(Order, args.id, { what: 'closed' }));
        },
      });
      const { dataSource, stepping } = await setUp({ steps: [close], runs: true });
      [app, database] = [stepping, dataSource];
      const gids = await Promise.all(
        Array.from({ length: 300 }, (_, i) =>
          inTransaction(stepping, dataSource, async ({ manager, job }) => {
            const { id } = await manager.save(Order, { what: `open ${i}` });
            return job.addStep(close, { id }).gid;
          }),
        ),
      );
      for (const gid of gids) expect((await stepping.jobs.wait(gid, { timeoutMs: 60_000 })).status).toBe('succeeded');
      expect(await dataSource.getRepository(Order).countBy({ what: 'closed' })).toBe(300);
    }, 120_000);
  });
}

sqlite.describe('jobs in the database of the transaction, on SQLite in particular', () => {
  it('cannot be started beside the open transaction, which they would wait for', async () => {
    const dataSource = await sqlite.open();
    opened.push(dataSource);
    const stepping = await started({
      tm: localTm({ store: typeormStore({ dataSource }), processor: hostedProcessor() }),
      use: [typeormDb({ dataSource })],
    });
    await inTransaction(stepping, dataSource, async () => {
      const job = stepping.createJob().addStep(sendMail, { order: 1 });
      expect(await errorOf(job.start())).toMatchObject({ code: 'TX_NESTED' });
    });
  });
});
