import { afterEach, expect, it } from '@jest/globals';
import { localTm } from '@stepping/tm-local';
import { typeormStore } from '@stepping/tm-local-typeorm';
import type { QueryRunner } from 'typeorm';
import { inTransaction, once, typeormDb } from '../src/index.js';
import { errorOf, ran, sendMail, started } from './support/apps.js';
import { Order, postgres } from './support/databases.js';
import { closeAll, throughWire } from './support/opened.js';
import { until } from './support/until.js';

const BEGIN = 'START TRANSACTION';
const INSERT = 'insert into "order" (what) values ($1)';
const INSERT_BOOK = `insert into "order" (what) values ('book')`;

interface Client {
  query(...args: any[]): any;
  readonly constructor: { readonly Query: new (...args: any[]) => object };
}

/** Ways to write an order, each of them the first statement of its transaction. */
const WAYS: Record<string, { isOneTrip: boolean; write: (runner: QueryRunner, client: Client) => Promise<unknown> }> = {
  'a save of TypeORM': { isOneTrip: true, write: ({ manager }) => manager.insert(Order, { what: 'book' }) },
  'a query with values': { isOneTrip: true, write: (runner) => runner.query(INSERT, ['book']) },
  'a named query of the driver': {
    isOneTrip: true,
    write: (_, client) => client.query({ name: 'an_order', text: INSERT, values: ['book'] }),
  },
  'a query of the driver that calls back': {
    isOneTrip: true,
    write: (_, client) =>
      new Promise((resolve, reject) => client.query(INSERT, ['book'], (error: unknown) => (error ? reject(error) : resolve(undefined)))),
  },
  'one of several at once': {
    isOneTrip: true,
    write: (runner) => Promise.all([runner.query(INSERT, ['book']), runner.query('select $1::int', [1])]),
  },
  'a query without values': { isOneTrip: false, write: (runner) => runner.query(INSERT_BOOK) },
  'a text of several statements': { isOneTrip: false, write: (runner) => runner.query(`select 1; ${INSERT_BOOK}`) },
  'a query object of the driver, as cursors and streams are': {
    isOneTrip: false,
    write: (_, client) =>
      new Promise((resolve, reject) =>
        client.query(new client.constructor.Query(INSERT, ['book'], (error: unknown) => (error ? reject(error) : resolve(undefined)))),
      ),
  },
  'a transaction of TypeORM in it': {
    isOneTrip: false,
    write: ({ manager }) => manager.transaction((nested) => nested.insert(Order, { what: 'book' })),
  },
};

afterEach(closeAll);

postgres.describe('the beginning of a transaction of ours, on PostgreSQL', () => {
  /** One connection. `twoDatabases`: the jobs are elsewhere, so there is a barrier. */
  const setUp = async ({ twoDatabases = true, ...options }: { twoDatabases?: boolean; extra?: object } = {}) => {
    const { direct, wire, dataSource } = await throughWire(postgres, { poolSize: 1, ...options });
    const stepping = await started({
      use: [typeormDb({ dataSource })],
      ...(twoDatabases ? { runs: true } : { tm: localTm({ store: typeormStore({ dataSource }), processor: false }) }),
    });
    const place = (body: (runner: QueryRunner, client: Client) => Promise<unknown>) =>
      inTransaction(stepping, dataSource, async ({ queryRunner, job }) => {
        await body(queryRunner, (await queryRunner.connect()) as Client);
        return job.addStep(sendMail, { order: 1 }).gid;
      });
    const save = (what = 'book') => place(({ manager }) => manager.insert(Order, { what }));
    const orders = async () => (await direct.getRepository(Order).find()).map(({ what }) => what);
    /** The pool has a connection that works, and none that is in a transaction. */
    const poolIsWell = async () => {
      await dataSource.query(INSERT, ['afterwards']);
      expect(await orders()).toContain('afterwards');
    };
    const begun = () => wire.sent.filter((message) => message.includes(BEGIN));
    return { direct, wire, dataSource, stepping, place, save, orders, poolIsWell, begun };
  };

  for (const twoDatabases of [false, true]) {
    const where = twoDatabases ? 'with a barrier' : 'without a barrier';

    for (const [way, { isOneTrip, write }] of Object.entries(WAYS)) {
      it(`comes before ${way}, ${where}${isOneTrip ? ', and goes in one trip with it' : ''}`, async () => {
        const { place, orders, poolIsWell, begun } = await setUp({ twoDatabases });
        const gid = await place(write);
        expect(begun()).toHaveLength(1);
        expect(/insert into "order"/i.test(begun()[0] as string)).toBe(isOneTrip);
        expect(begun()[0]?.includes('stepping_barrier')).toBe(twoDatabases);
        if (twoDatabases) await until(() => ran.includes(gid));
        expect(await orders()).toEqual(['book']);

        const thrown = new Error('out of stock');
        const undone = place(async (...args) => {
          await write(...args);
          throw thrown;
        });
        expect(await errorOf(undone)).toBe(thrown);
        expect(begun()).toHaveLength(2);
        expect(await orders()).toEqual(['book']);
        await poolIsWell();
      });
    }

    it(`goes by itself when the body sends no statement, ${where}`, async () => {
      const { dataSource, stepping, place, begun, poolIsWell } = await setUp({ twoDatabases });
      const gid = await place(async () => {});
      await until(async () => (await stepping.jobs.find(gid))?.status === (twoDatabases ? 'succeeded' : 'submitted'));
      await inTransaction(stepping, dataSource, async () => {});
      expect(await errorOf(place(() => Promise.reject(new Error('no'))))).toMatchObject({ message: 'no' });
      expect(begun()).toHaveLength(3);
      await poolIsWell();
    });

    it(`that the server refuses takes the first statement with it, and all that follow, ${where}`, async () => {
      for (const [way, { write }] of Object.entries(WAYS)) {
        const { wire, place, orders, poolIsWell } = await setUp({ twoDatabases });
        wire.replace(BEGIN, 'STXRT TRANSACTION');
        const errors: unknown[] = [];
        const work = place(async (runner, client) => {
          errors.push(await errorOf(write(runner, client)));
          errors.push(await errorOf(runner.query(INSERT, ['second'])));
          errors.push(await errorOf(client.query(INSERT, ['third'])));
        });
        expect({ way, error: await errorOf(work) }).toMatchObject({ way, error: { code: 'TX_NOT_ACTIVE' } });
        expect(errors).toHaveLength(3);
        expect({ way, orders: await orders() }).toEqual({ way, orders: [] });
        wire.replace('STXRT', 'START');
        await poolIsWell();
      }
    });
  }

  it('leaves the error of the first statement to who sent it, and the transaction failed, also before the server tells of that', async () => {
    const { wire, place, orders, poolIsWell } = await setUp();
    wire.splitErrors();
    const work = place((runner) => runner.query('insert into "order" (what) values ($1::int / 0)', [1]));
    expect(await errorOf(work)).toMatchObject({
      name: 'QueryFailedError',
      driverError: { code: '22012' },
      query: expect.stringContaining('/ 0'),
    });
    const swallowing = place((runner) => runner.query('insert into "order" (what) values ($1::int / 0)', [1]).catch(() => {}));
    expect(await errorOf(swallowing)).toMatchObject({ driverError: { code: '25P02' } });
    expect(await orders()).toEqual([]);
    await poolIsWell();
  });

  it('tells the driver nothing of a named statement that the server has not parsed', async () => {
    const { direct, place, orders } = await setUp();
    await direct.query('alter table "order" rename to elsewhere');
    const named = (client: Client) => client.query({ name: 'an_order', text: INSERT, values: ['book'] });
    expect(await errorOf(place((_, client) => named(client)))).toMatchObject({ code: '42P01' });
    await direct.query('alter table elsewhere rename to "order"');
    for (let times = 0; times < 3; times++) await place((_, client) => named(client));
    expect(await orders()).toEqual(['book', 'book', 'book']);
  });

  it('has begun when a value of the first statement cannot be sent', async () => {
    const { place, orders } = await setUp();
    const value = {
      toPostgres() {
        throw new Error('no such value');
      },
    };
    const thrown = new Error('out of stock');
    const unsendable = async (runner: QueryRunner) => {
      expect(await errorOf(runner.query(INSERT, [value]))).toMatchObject({ driverError: { message: 'no such value' } });
      await runner.query(INSERT, ['second']);
    };
    const undone = place(async (runner) => {
      await unsendable(runner);
      throw thrown;
    });
    expect(await errorOf(undone)).toBe(thrown);
    expect(await orders()).toEqual([]);
    await place(unsendable);
    expect(await orders()).toEqual(['second']);
  });

  it('comes before the next statement when the driver takes no first one', async () => {
    const { place, orders, poolIsWell } = await setUp();
    const thrown = new Error('out of stock');
    const undone = place(async (runner, client) => {
      expect(await errorOf(() => client.query(null))).toBeInstanceOf(TypeError);
      await runner.query(INSERT, ['book']);
      throw thrown;
    });
    expect(await errorOf(undone)).toBe(thrown);
    expect(await orders()).toEqual([]);
    await poolIsWell();
  });

  it('closes the connection when the driver refuses the first statement before it is sent', async () => {
    const { dataSource, place, orders, poolIsWell } = await setUp();
    const prepared = dataSource.createQueryRunner();
    await ((await prepared.connect()) as Client).query({ name: 'mine', text: 'select $1::int', values: [1] });
    await prepared.release();
    const work = place(async (runner, client) => {
      expect(await errorOf(client.query({ name: 'mine', text: INSERT, values: ['first'] }))).toMatchObject({
        message: expect.stringContaining('must be unique'),
      });
      expect(await errorOf(runner.query(INSERT, ['second']))).toBeInstanceOf(Error);
    });
    expect(await errorOf(work)).toMatchObject({ code: 'TX_NOT_ACTIVE' });
    expect(await orders()).toEqual([]);
    await poolIsWell();
  });

  it('keeps what the first statement says of its own time', async () => {
    const { place, orders, poolIsWell } = await setUp();
    const work = place((_, client) => client.query({ text: 'select pg_sleep($1)', values: [5], query_timeout: 50 }));
    expect(await errorOf(work)).toMatchObject({ message: 'Query read timeout' });
    expect(await orders()).toEqual([]);
    await poolIsWell();
  });

  it('of a former transaction, whose body gave its connection back, does not disturb the next one', async () => {
    const { place, save, orders } = await setUp();
    expect(await errorOf(place((runner) => runner.release()))).toMatchObject({ code: 'TX_NOT_ACTIVE' });
    await save();
    expect(await orders()).toEqual(['book']);
  });

  it('is forgotten when the body gives its connection back', async () => {
    const { place, orders, begun, poolIsWell } = await setUp();
    expect(await errorOf(place((runner) => runner.release()))).toMatchObject({ code: 'TX_NOT_ACTIVE' });
    await poolIsWell();
    expect(begun()).toEqual([]);
    expect(await orders()).toEqual(['afterwards']);
  });

  it('of a connection that breaks meanwhile is an error of the first statement', async () => {
    const { direct, place, orders, poolIsWell } = await setUp();
    const work = place(async ({ manager }) => {
      await direct.query(
        'select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()',
      );
      await manager.insert(Order, { what: 'book' });
    });
    expect(await errorOf(work)).toBeInstanceOf(Error);
    expect(await orders()).toEqual([]);
    await poolIsWell();
  });

  it('is one whose first statement the body did not wait for', async () => {
    const { place, orders, poolIsWell } = await setUp();
    await place(async (runner) => void runner.query(INSERT, ['book']));
    expect(await orders()).toEqual(['book']);
    await poolIsWell();
  });

  it('is prepared once for a connection, as is what goes with it', async () => {
    const { wire, save } = await setUp();
    await save();
    wire.sent.splice(0);
    await save();
    expect(wire.sent.find((message) => message.includes(BEGIN))).not.toContain('insert into "public"."stepping_barrier"');
  });

  it('goes ahead where the driver sends everything at once by itself', async () => {
    const { save, begun, orders } = await setUp({ extra: { pipeline: true } });
    await save();
    expect(begun()[0]).not.toContain('insert into "order"');
    expect(await orders()).toEqual(['book']);
  });

  it('goes in one trip with the barrier of once()', async () => {
    const { dataSource, begun, orders } = await setUp();
    const pay = () => once(dataSource, 'payment-1', (manager) => manager.insert(Order, { what: 'paid' }));
    expect(await pay()).toMatchObject({ ran: true });
    expect(await pay()).toMatchObject({ ran: false });
    expect(begun()).toEqual([expect.stringContaining('stepping_barrier'), expect.stringContaining('stepping_barrier')]);
    expect(await orders()).toEqual(['paid']);
  });
});
