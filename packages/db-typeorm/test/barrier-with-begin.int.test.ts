import { afterEach, expect, it } from '@jest/globals';
import { localTm } from '@stepping/tm-local';
import { typeormStore } from '@stepping/tm-local-typeorm';
import type { DataSource } from 'typeorm';
import { inTransaction, typeormDb } from '../src/index.js';
import { errorOf, ran, sendMail, started } from './support/apps.js';
import { Order, postgres } from './support/databases.js';
import { closeAll, opened } from './support/opened.js';
import { until } from './support/until.js';

const BEGIN = 'START TRANSACTION';
const BARRIERS = 'select count(*)::int as barriers from stepping_barrier';

afterEach(closeAll);

postgres.describe('the barrier of a job in another database, on PostgreSQL', () => {
  const setUp = async (options: object = {}) => {
    const dataSource = await opened(postgres.open({ poolSize: 1, ...options }));
    const stepping = await started({ use: [typeormDb({ dataSource })], runs: true });
    const sent: string[] = [];
    Object.assign(dataSource.logger, { logQuery: (query: string) => sent.push(query) });
    const orders = () => dataSource.getRepository(Order).count();
    const barriers = async () => (await dataSource.query(BARRIERS))[0].barriers as number;
    return { dataSource, stepping, sent, orders, barriers };
  };

  /** An order, and a job where `withJob` says so. */
  const place = (
    { stepping, dataSource }: { stepping: Awaited<ReturnType<typeof started>>; dataSource: DataSource },
    { withJob = true, ...options }: { withJob?: boolean; gid?: string; isolationLevel?: 'READ COMMITTED' | 'SERIALIZABLE' } = {},
  ) =>
    inTransaction(stepping, { dataSource, ...options }, async ({ manager, job }) => {
      const order = await manager.save(Order, { what: 'book' });
      if (withJob) job.addStep(sendMail, { order: order.id });
      return job.gid;
    });

  it('goes in one trip with the beginning of the transaction', async () => {
    const shop = await setUp();
    const gid = await place(shop);
    expect(shop.sent.slice(0, 2)).toEqual([BEGIN, expect.stringMatching(/^insert into \S*stepping_barrier\S* /)]);
    expect(shop.sent.filter((query) => query.includes('stepping_barrier'))).toHaveLength(1);
    await until(() => ran.includes(gid));
    expect([await shop.orders(), await shop.barriers()]).toEqual([1, 1]);
  });

  it('is taken out after the commit when the body adds no step, whatever the body may do', async () => {
    const shop = await setUp();
    await place(shop, { withJob: false });
    expect(shop.sent.at(-2)).toBe('COMMIT');
    expect(shop.sent.at(-1)).toMatch(/^delete from \S*stepping_barrier\S* /);
    await inTransaction(shop.stepping, shop.dataSource, ({ manager }) => manager.query('set transaction read only'));
    expect([await shop.orders(), await shop.barriers()]).toEqual([1, 0]);
  });

  it('goes by itself, after the body, for a gid that was chosen', async () => {
    const shop = await setUp();
    await place(shop, { gid: 'order-1' });
    expect(shop.sent[0]).toBe(BEGIN);
    await until(() => ran.includes('order-1'));
    expect([await shop.orders(), await shop.barriers()]).toEqual([1, 1]);
  });

  it('goes by itself, after the body, where an isolation level is asked for', async () => {
    const shop = await setUp();
    await place(shop, { isolationLevel: 'SERIALIZABLE' });
    expect(shop.sent.slice(0, 2)).toEqual([BEGIN, 'SET TRANSACTION ISOLATION LEVEL SERIALIZABLE']);
    await place(shop, { isolationLevel: 'SERIALIZABLE', withJob: false });
    expect([await shop.orders(), await shop.barriers()]).toEqual([2, 1]);
  });

  it('does so where the DataSource has an isolation level', async () => {
    const shop = await setUp({ isolationLevel: 'REPEATABLE READ' });
    await place(shop);
    expect(shop.sent.slice(0, 2)).toEqual([BEGIN, 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ']);
    expect([await shop.orders(), await shop.barriers()]).toEqual([1, 1]);
  });

  it('is not written where the jobs are in the same database', async () => {
    const dataSource = await opened(postgres.open());
    const tm = localTm({ store: typeormStore({ dataSource }), processor: false });
    const stepping = await started({ tm, use: [typeormDb({ dataSource })] });
    const sent: string[] = [];
    Object.assign(dataSource.logger, { logQuery: (query: string) => sent.push(query) });
    await place({ stepping, dataSource });
    await place({ stepping, dataSource }, { withJob: false });
    expect(sent.filter((query) => query.includes('stepping_barrier'))).toEqual([]);
    expect((await stepping.jobs.stats()).submitted).toBe(1);
  });

  it('goes with what a body that throws has written', async () => {
    const shop = await setUp();
    const thrown = new Error('out of stock');
    const work = inTransaction(shop.stepping, shop.dataSource, async ({ manager, job }) => {
      job.addStep(sendMail, await manager.save(Order, { what: 'book' }).then(({ id }) => ({ order: id })));
      throw thrown;
    });
    expect(await errorOf(work)).toBe(thrown);
    expect([await shop.orders(), await shop.barriers()]).toEqual([0, 0]);
  });

  it('says that its table is missing, whatever the body makes of that, and leaves a pool that works', async () => {
    const shop = await setUp();
    await shop.dataSource.query('alter table stepping_barrier rename to elsewhere');
    expect(await errorOf(place(shop))).toMatchObject({ code: 'STORE_REFUSED', message: expect.stringContaining('stepping.migrate()') });
    await shop.dataSource.query('alter table elsewhere rename to stepping_barrier');
    await place(shop);
    expect([await shop.orders(), await shop.barriers()]).toEqual([1, 1]);
  });

  it('is not with an order whose commit a subscriber has spoilt: the caller is told, and no step runs', async () => {
    const shop = await setUp();
    shop.dataSource.subscribers.push({
      beforeTransactionCommit: async ({ queryRunner }) => {
        await queryRunner.query('select 1 / 0').catch(() => {});
      },
    });
    expect(await errorOf(place(shop))).toMatchObject({ code: 'TX_NOT_ACTIVE' });
    shop.dataSource.subscribers.pop();
    expect([await shop.orders(), await shop.barriers()]).toEqual([0, 0]);
    expect(await shop.stepping.jobs.stats()).toMatchObject({ 'rolled-back': 1, succeeded: 0 });
  });

  it('goes with a transaction that the body has ended, and what the body began then is undone', async () => {
    const shop = await setUp();
    const work = inTransaction(shop.stepping, shop.dataSource, async ({ manager, queryRunner, job }) => {
      await queryRunner.rollbackTransaction();
      await queryRunner.startTransaction();
      job.addStep(sendMail, await manager.save(Order, { what: 'book' }).then(({ id }) => ({ order: id })));
    });
    expect(await errorOf(work)).toMatchObject({ code: 'TX_NOT_ACTIVE' });
    // On the one connection of the pool, which has no transaction open now.
    await shop.dataSource.getRepository(Order).save({ what: 'another' });
    expect((await shop.dataSource.query('select what from "order"')).map(({ what }: Order) => what)).toEqual(['another']);
    expect((await shop.dataSource.query('select pg_current_xact_id_if_assigned() as open'))[0].open).toBeNull();
    expect(await shop.barriers()).toBe(0);
  });
});
