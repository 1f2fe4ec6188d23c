import { afterEach, describe, expect, it } from '@jest/globals';
import { localTm } from '@stepping/tm-local';
import { typeormStore } from '@stepping/tm-local-typeorm';
import type { DataSource, QueryRunner } from 'typeorm';
import { inTransaction, once, typeormDb } from '../src/index.js';
import { errorOf, ran, sendMail, started } from './support/apps.js';
import { Order, postgres } from './support/databases.js';
import { closeAll, throughWire } from './support/opened.js';
import { until } from './support/until.js';

const BEGIN = 'START TRANSACTION';
const INSERT = 'insert into "order" (what) values ($1)';
const INSERT_BOOK = `insert into "order" (what) values ('book')`;

interface Client {
  query: (...args: any[]) => any;
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
    isOneTrip: true,
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

/** What instrumentation makes of the driver's `query`. */
const WRAPPERS: Record<string, (query: Client['query']) => Client['query']> = {
  'a wrapper that copies what it is given':
    (query) =>
    (config, ...rest) => {
      const copy = typeof config === 'string' ? { text: config } : { ...config };
      if (copy.text === 'blocked') throw new Error('blocked');
      return query({ ...copy, text: `/* traced */ ${copy.text}` }, ...rest);
    },
  'a wrapper that knows texts, and promises alone': (query) => async (text, values) => {
    if (text.slice(0, 7) === 'blocked') throw new Error('blocked');
    return await query(text, values);
  },
};

/** What a body may do by SQL, and the orders that are left. */
const CHAINS: [what: string, body: (runner: QueryRunner) => Promise<unknown>, kept: string[]][] = [
  [
    'rolls back by SQL and begins again at once',
    async (runner) => {
      await runner.query(INSERT, ['undone']);
      await runner.query('rollback and chain');
      await runner.query(INSERT, ['kept']);
    },
    ['kept'],
  ],
  [
    'rolls back by SQL, and begins again',
    async (runner) => {
      await runner.query(INSERT, ['undone']);
      await runner.query('rollback');
      await runner.query('begin');
      await runner.query(INSERT, ['kept']);
    },
    ['kept'],
  ],
  [
    'rolls back to a savepoint',
    async (runner) => {
      await runner.query(INSERT, ['kept']);
      await runner.manager.transaction(() => Promise.reject(new Error('no'))).catch(() => {});
    },
    ['kept'],
  ],
];

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
        expect({ way, error: await errorOf(work) }).toMatchObject({ way, error: { code: '42601', query: BEGIN } });
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

  it('comes before the next statement when the driver refuses the first one before it is sent', async () => {
    const { dataSource, place, orders, poolIsWell } = await setUp();
    const prepared = dataSource.createQueryRunner();
    await ((await prepared.connect()) as Client).query({ name: 'mine', text: 'select $1::int', values: [1] });
    await prepared.release();
    const thrown = new Error('out of stock');
    const undone = place(async (runner, client) => {
      expect(await errorOf(client.query({ name: 'mine', text: INSERT, values: ['first'] }))).toMatchObject({
        message: expect.stringContaining('must be unique'),
      });
      await runner.query(INSERT, ['second']);
      throw thrown;
    });
    expect(await errorOf(undone)).toBe(thrown);
    expect(await orders()).toEqual([]);
    await poolIsWell();
  });

  for (const [wrapper, wrap] of Object.entries(WRAPPERS)) {
    it(`comes before a first statement that goes through ${wrapper}`, async () => {
      const { dataSource, place, orders, poolIsWell } = await setUp();
      const runner = dataSource.createQueryRunner();
      const client = (await runner.connect()) as Client;
      client.query = wrap(client.query.bind(client));
      await runner.release();
      const thrown = new Error('out of stock');
      const undone = place(async (runner) => {
        await runner.query(INSERT, ['first']);
        await runner.query(INSERT, ['second']);
        throw thrown;
      });
      expect(await errorOf(undone)).toBe(thrown);
      const blocked = place(async (runner) => {
        expect(await errorOf(runner.query('blocked', [1]))).toMatchObject({ name: 'QueryFailedError' });
        await runner.query(INSERT, ['third']);
        throw thrown;
      });
      expect(await errorOf(blocked)).toBe(thrown);
      expect(await orders()).toEqual([]);
      await place((runner) => runner.query(INSERT, ['fourth']));
      expect(await orders()).toEqual(['fourth']);
      await poolIsWell();
    });
  }

  it('is sent once when the body wraps the driver for a while', async () => {
    const { place, orders, begun } = await setUp();
    await place(async (runner, client) => {
      const { query } = client;
      client.query = (...args: unknown[]) => Reflect.apply(query, client, args);
      await runner.query(INSERT, ['first']);
      client.query = query;
      await runner.query(INSERT, ['second']);
    });
    expect(await orders()).toEqual(['first', 'second']);
    expect(begun()).toHaveLength(1);
  });

  it('fails once where what was prepared is gone, and prepares nothing any more', async () => {
    const { dataSource, save, orders, wire } = await setUp();
    const reset = () => dataSource.query('discard all');
    await save();
    await reset();
    expect(await errorOf(save())).toMatchObject({ driverError: { code: '26000' }, query: expect.stringContaining('stepping_barrier') });
    for (let times = 0; times < 2; times++) {
      await save();
      await reset();
    }
    expect(await orders()).toEqual(['book', 'book', 'book']);
    expect(wire.sent.at(-1)).toContain('discard all');
  });

  for (const [what, body, kept] of CHAINS) {
    it(`keeps the barrier with what is committed: the body ${what}`, async () => {
      const { direct, place, orders, poolIsWell } = await setUp();
      const gid = await place(body);
      await until(() => ran.includes(gid));
      expect(await orders()).toEqual(kept);
      expect((await direct.query('select gid from stepping_barrier')).map((row: { gid: string }) => row.gid)).toEqual([gid]);
      await poolIsWell();
    });
  }

  it('refuses the job of a body that commits by SQL and begins again', async () => {
    const { place, orders, poolIsWell } = await setUp();
    for (const text of ['commit and chain', 'commit; begin']) {
      const work = place(async (runner) => {
        await runner.query(INSERT, [text]);
        await runner.query(text);
        await runner.query(INSERT, ['undone']);
      });
      expect(await errorOf(work)).toMatchObject({ code: 'TX_NOT_ACTIVE', message: expect.stringContaining('by SQL') });
    }
    expect(await orders()).toEqual(['commit and chain', 'commit; begin']);
    await poolIsWell();
  });

  describe('that the server refuses is told as it was, whatever the body made of it', () => {
    const bodies: Record<string, (runner: QueryRunner) => Promise<unknown>> = {
      'it passes the error of its first statement': (runner) => runner.query(INSERT, ['book']),
      'it swallows that': (runner) => runner.query(INSERT, ['book']).catch(() => {}),
      'its first statement has no values': (runner) => runner.query(INSERT_BOOK),
      'it swallows the error of that': (runner) => runner.query(INSERT_BOOK).catch(() => {}),
      'it sends none': async () => {},
    };
    for (const [what, body] of Object.entries(bodies)) {
      it(what, async () => {
        const { direct, place, orders, poolIsWell } = await setUp();
        await direct.query(`create function no() returns trigger language plpgsql as $$ begin raise 'no barriers today'; end $$`);
        await direct.query('create trigger no before insert on stepping_barrier execute function no()');
        const error = await errorOf(place(body));
        expect(error).toMatchObject({
          name: 'QueryFailedError',
          message: 'no barriers today',
          query: expect.stringContaining('stepping_barrier'),
        });
        await direct.query('drop trigger no on stepping_barrier');
        expect(await orders()).toEqual([]);
        await poolIsWell();
      });
    }
  });

  describe('on a connection that is lost ends with an error', () => {
    const losses: Record<string, (runner: QueryRunner, lose: () => Promise<unknown>) => Promise<unknown>> = {
      'before the first statement': async (runner, lose) => {
        await lose();
        await runner.query(INSERT, ['book']);
      },
      'before the first statement, whose error is swallowed': async (runner, lose) => {
        await lose();
        await runner.query(INSERT, ['book']).catch(() => {});
      },
      'in the first statement': (runner, lose) => Promise.all([runner.query('select pg_sleep($1)', [60]), sleeping(lose)]),
      'in the first statement, whose error is swallowed': async (runner, lose) => {
        await Promise.all([runner.query('select pg_sleep($1)', [60]).catch(() => {}), sleeping(lose)]);
      },
      'in a first statement without values, whose error is swallowed long before the body ends': async (runner, lose) => {
        await Promise.all([runner.query('select pg_sleep(60)').catch(() => {}), sleeping(lose)]);
        await new Promise((resolve) => setTimeout(resolve, 200));
      },
      'in a later statement, whose error is swallowed long before the body ends': async (runner, lose) => {
        await runner.query(INSERT, ['book']);
        await Promise.all([runner.query('select pg_sleep(60)').catch(() => {}), sleeping(lose)]);
        await new Promise((resolve) => setTimeout(resolve, 200));
      },
      'by a body that sends nothing': (_, lose) => lose(),
    };
    let direct: DataSource;
    const others = 'select pid from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()';
    const sleeping = async (lose: () => Promise<unknown>) => {
      await until(async () => (await direct.query(`${others} and query like '%pg_sleep%' and state = 'active'`)).length > 0);
      await lose();
    };
    for (const [what, body] of Object.entries(losses)) {
      for (const withJob of [true, false]) {
        it(`${what}, ${withJob ? 'with' : 'without'} a job`, async () => {
          const shop = await setUp();
          direct = shop.direct;
          const lose = () => direct.query(`select pg_terminate_backend(pid) from (${others}) o`);
          const work = inTransaction(shop.stepping, shop.dataSource, async ({ queryRunner, job }) => {
            await body(queryRunner, lose);
            if (withJob) job.addStep(sendMail, { order: 1 });
          });
          expect(await errorOf(work)).toBeInstanceOf(Error);
          expect(await shop.orders()).toEqual([]);
          await shop.poolIsWell();
        });
      }
    }
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
    expect(begun()).toHaveLength(1);
    expect(begun()[0]).not.toMatch(/insert into "order"/i);
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
