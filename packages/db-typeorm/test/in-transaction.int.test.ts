import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, expect, it, jest } from '@jest/globals';
import type { Stepping } from '@stepping/core';
import type { DataSource, EntityManager } from 'typeorm';
import { inTransaction, typeormDb, typeormTransaction } from '../src/index.js';
import { anApp, errorOf, sendMail, started, stopApps } from './support/apps.js';
import { mysqls, Order, postgres, sqlite, sqliteWithoutWal } from './support/databases.js';

const opened: DataSource[] = [];

afterEach(async () => {
  await stopApps();
  for (const dataSource of opened.splice(0)) if (dataSource.isInitialized) await dataSource.destroy();
});

for (const database of [sqlite, sqliteWithoutWal, postgres, ...mysqls]) {
  const open = async (options?: object) => {
    const dataSource = await database.open(options);
    opened.push(dataSource);
    return dataSource;
  };
  const openApp = async (options?: object) => {
    const dataSource = await open(options);
    return { dataSource, stepping: await started({ use: [typeormDb({ dataSource })] }) };
  };
  const orders = (dataSource: DataSource) => dataSource.getRepository(Order).find({ order: { id: 'asc' } });
  const statusOf = async (stepping: Stepping, gid: string) => (await stepping.jobs.find(gid))?.status;
  const place = (manager: EntityManager, what = 'book') => manager.save(Order, { what });

  database.describe(`inTransaction on ${database.name}`, () => {
    it('commits what the body did, and then submits its job', async () => {
      const { dataSource, stepping } = await openApp();
      const gid = await inTransaction(stepping, dataSource, async ({ manager, job }) => {
        const order = await place(manager);
        job.addStep(sendMail, { order: order.id });
        expect(await orders(dataSource)).toEqual([]);
        return job.gid;
      });
      expect(await orders(dataSource)).toEqual([{ id: 1, what: 'book' }]);
      expect(await statusOf(stepping, gid)).toBe('submitted');
    });

    it('undoes everything when the body throws, and lets its error pass as it is', async () => {
      const { dataSource, stepping } = await openApp();
      const thrown = new Error('out of stock');
      let gid = '';
      const error = await errorOf(
        inTransaction(stepping, dataSource, async ({ manager, job }) => {
          gid = job.gid;
          job.addStep(sendMail, { order: 1 });
          await place(manager);
          throw thrown;
        }),
      );
      expect(error).toBe(thrown);
      expect(await orders(dataSource)).toEqual([]);
      expect(await statusOf(stepping, gid)).toBeUndefined();
      expect(await dataSource.query('select * from stepping_barrier')).toEqual([]);
    });

    it('commits without a job when the body added no steps', async () => {
      const { dataSource, stepping } = await openApp();
      const gid = await inTransaction(stepping, dataSource, async ({ manager, job }) => {
        await place(manager);
        return job.gid;
      });
      expect(await orders(dataSource)).toHaveLength(1);
      expect(await statusOf(stepping, gid)).toBeUndefined();
      expect(await dataSource.query('select * from stepping_barrier')).toEqual([]);
    });

    it('rolls back and throws JOB_DUPLICATE when the gid was used before', async () => {
      const { dataSource, stepping } = await openApp();
      const order = (what: string) =>
        inTransaction(stepping, { dataSource, gid: 'order-1' }, async ({ manager, job }) => {
          job.addStep(sendMail, { order: (await place(manager, what)).id });
        });
      await order('first');
      expect(await errorOf(order('again'))).toMatchObject({ code: 'JOB_DUPLICATE' });
      expect((await orders(dataSource)).map(({ what }) => what)).toEqual(['first']);
      await inTransaction(stepping, dataSource, ({ manager }) => place(manager, 'another'));
      expect(await orders(dataSource)).toHaveLength(2);
    });

    it('gives the body a job that it can only add steps to', async () => {
      const { dataSource, stepping } = await openApp();
      await inTransaction(stepping, dataSource, async ({ job, queryRunner, manager }) => {
        expect(['start', 'prepare', 'submit', 'resolve'].filter((verb) => verb in job)).toEqual([]);
        expect(job.addStep(sendMail, { order: 1 })).toBe(job);
        expect(job.stepCount).toBe(1);
        // Nor is there a way around it.
        for (const held of [queryRunner, manager]) {
          const other = stepping.createJob({ transaction: typeormTransaction(held) }).addStep(sendMail, { order: 2 });
          expect(await errorOf(other.start())).toMatchObject({ code: 'TX_NOT_OWNED' });
        }
      });
    });

    it('refuses a step that is added after the body has ended', async () => {
      const { dataSource, stepping } = await openApp();
      const job = await inTransaction(stepping, dataSource, async ({ job }) => job);
      expect(await errorOf(() => job.addStep(sendMail, { order: 1 }))).toMatchObject({ code: 'JOB_ALREADY_STARTED' });
    });

    it('succeeds 300 times at once', async () => {
      const { dataSource, stepping } = await openApp();
      const gids = await Promise.all(
        Array.from({ length: 300 }, (_, i) =>
          inTransaction(stepping, dataSource, async ({ manager, job }) => {
            const order = await place(manager, `order ${i}`);
            await turn();
            job.addStep(sendMail, { order: order.id });
            return job.gid;
          }),
        ),
      );
      expect(new Set((await orders(dataSource)).map(({ what }) => what)).size).toBe(300);
      expect(await stepping.jobs.stats()).toMatchObject({ submitted: 300, prepared: 0 });
      expect(new Set(gids).size).toBe(300);
    });

    it('keeps those that fail apart from those that succeed, at once', async () => {
      const { dataSource, stepping } = await openApp();
      const results = await Promise.allSettled(
        Array.from({ length: 60 }, (_, i) =>
          inTransaction(stepping, dataSource, async ({ manager, job }) => {
            job.addStep(sendMail, { order: (await place(manager, `order ${i}`)).id });
            await turn();
            if (i % 3 === 0) throw new Error(`no ${i}`);
          }),
        ),
      );
      expect(results.filter(({ status }) => status === 'fulfilled')).toHaveLength(40);
      expect(await orders(dataSource)).toHaveLength(40);
      expect(await stepping.jobs.stats()).toMatchObject({ submitted: 40, prepared: 0 });
    });

    it('is refused before start() and after stop(), before anything is written', async () => {
      const dataSource = await open();
      const stepping = anApp({ use: [typeormDb({ dataSource })] });
      const order = () => inTransaction(stepping, dataSource, ({ manager }) => place(manager));
      expect(await errorOf(order)).toMatchObject({ code: 'NOT_STARTED' });
      await stepping.start();
      await order();
      await stepping.stop();
      expect(await errorOf(order)).toMatchObject({ code: 'NOT_STARTED' });
      expect(await orders(dataSource)).toHaveLength(1);
    });

    it('lets an open body finish when stop() is called, and its job is kept', async () => {
      const { dataSource, stepping } = await openApp();
      const go = Promise.withResolvers<void>();
      const open = Promise.withResolvers<void>();
      const heard: string[] = [];
      stepping.on('job.submitted', ({ gid }) => heard.push(gid));
      const done = inTransaction(stepping, dataSource, async ({ manager, job }) => {
        open.resolve();
        await go.promise;
        await place(manager);
        return job.addStep(sendMail, { order: 1 }).gid;
      });
      await open.promise;
      const stopped = stepping.stop();
      go.resolve();
      expect(heard).toEqual([]);
      const gid = await done;
      await stopped;
      expect(heard).toEqual([gid]);
      expect(await orders(dataSource)).toHaveLength(1);
    });

    it('does not keep stop() from ending when a body does not, and tells that body the truth', async () => {
      const { dataSource, stepping } = await openApp();
      const go = Promise.withResolvers<void>();
      const open = Promise.withResolvers<void>();
      const done = inTransaction(stepping, dataSource, async ({ manager, job }) => {
        await place(manager, 'before');
        open.resolve();
        await go.promise;
        await place(manager, 'after');
        job.addStep(sendMail, { order: 1 });
      });
      await open.promise;
      await stepping.stop({ drainTimeoutMs: 0 });
      go.resolve();
      await errorOf(done);
      expect(await orders(dataSource)).toEqual([]);
    });

    it('refuses a gid that is none, and gives the connection back', async () => {
      const { dataSource, stepping } = await openApp();
      expect(await errorOf(inTransaction(stepping, { gid: 'a b' }, async () => {}))).toMatchObject({ code: 'GID_INVALID' });
      await inTransaction(stepping, dataSource, ({ manager }) => place(manager));
    });

    it('lets the body nest transactions of TypeORM', async () => {
      const { dataSource, stepping } = await openApp();
      await inTransaction(stepping, dataSource, async ({ manager, job }) => {
        await place(manager, 'kept');
        await manager
          .transaction(async (nested) => {
            await place(nested, 'undone');
            throw new Error('only this');
          })
          .catch(() => {});
        job.addStep(sendMail, { order: 1 });
      });
      expect((await orders(dataSource)).map(({ what }) => what)).toEqual(['kept']);
    });

    it('rolls back what the body left nested', async () => {
      const { dataSource, stepping } = await openApp();
      const error = await errorOf(
        inTransaction(stepping, dataSource, async ({ manager, queryRunner, job }) => {
          await place(manager);
          await queryRunner.startTransaction();
          job.addStep(sendMail, { order: 1 });
        }),
      );
      expect(error).toMatchObject({ code: 'TX_NESTED' });
      expect(await orders(dataSource)).toEqual([]);
    });

    it('tells a body that committed by itself, when there are steps that come too late', async () => {
      const { dataSource, stepping } = await openApp();
      const error = await errorOf(
        inTransaction(stepping, dataSource, async ({ queryRunner, job }) => {
          job.addStep(sendMail, { order: 1 });
          await queryRunner.commitTransaction();
        }),
      );
      expect(error).toMatchObject({ code: 'TX_NOT_ACTIVE' });
    });

    it('runs code that the body did not await outside of every other transaction', async () => {
      const { dataSource, stepping } = await openApp();
      let late: Promise<unknown> = Promise.resolve();
      const go = Promise.withResolvers<void>();
      await inTransaction(stepping, dataSource, async ({ manager }) => {
        late = errorOf(go.promise.then(() => place(manager, 'late')));
      });
      await inTransaction(stepping, dataSource, async () => {
        go.resolve();
        expect(await late).toMatchObject({ name: expect.stringMatching(/Released/) });
      });
      expect(await orders(dataSource)).toEqual([]);
    });

    it('tells every subscriber of the DataSource, the same objects', async () => {
      const { dataSource, stepping } = await openApp();
      const heard: string[] = [];
      dataSource.subscribers.push({
        listenTo: () => 'order',
        afterInsert: () => void heard.push('insert'),
        afterTransactionCommit: () => void heard.push('commit'),
      });
      await inTransaction(stepping, dataSource, ({ manager }) => place(manager));
      expect(heard).toEqual(['insert', 'commit']);
    });

    it('is committed when only a subscriber fails after the commit', async () => {
      const { dataSource, stepping } = await openApp();
      const warned = jest.spyOn(process, 'emitWarning').mockImplementation(() => {});
      dataSource.subscribers.push({
        async afterTransactionCommit() {
          throw new Error('subscriber');
        },
      });
      const gid = await inTransaction(stepping, dataSource, async ({ manager, job }) => {
        await place(manager);
        return job.addStep(sendMail, { order: 1 }).gid;
      });
      dataSource.subscribers.splice(0);
      expect(await orders(dataSource)).toHaveLength(1);
      expect(await statusOf(stepping, gid)).toBe('submitted');
      expect(warned.mock.calls).toEqual([[expect.stringContaining('committed: Error: subscriber'), expect.anything()]]);
      warned.mockRestore();
    });

    it('is rolled back, job and all, when a subscriber fails before the commit', async () => {
      const { dataSource, stepping } = await openApp();
      const thrown = new Error('subscriber');
      dataSource.subscribers.push({
        async beforeTransactionCommit() {
          throw thrown;
        },
      });
      let gid = '';
      const error = await errorOf(
        inTransaction(stepping, dataSource, async ({ manager, job }) => {
          gid = job.addStep(sendMail, { order: 1 }).gid;
          await place(manager);
        }),
      );
      dataSource.subscribers.splice(0);
      expect(error).toBe(thrown);
      expect(await orders(dataSource)).toEqual([]);
      expect(await statusOf(stepping, gid)).toBe('rolled-back');
      await inTransaction(stepping, dataSource, ({ manager }) => place(manager));
      expect(await orders(dataSource)).toHaveLength(1);
    });

    it('finds the database by its DataSource, by its name, or by default', async () => {
      const [main, archive] = [await open(), await open()];
      const stepping = await started({ use: [typeormDb({ dataSource: main }), typeormDb({ name: 'archive', dataSource: archive })] });
      const order = (target: Parameters<typeof inTransaction>[1]) => inTransaction(stepping, target, ({ manager }) => place(manager));
      await order(archive);
      await order({ db: 'archive' });
      await order({ db: 'archive', dataSource: archive });
      await order({});
      expect([(await orders(main)).length, (await orders(archive)).length]).toEqual([1, 3]);
    });

    it('refuses a database that nobody registered, and says what to add', async () => {
      const { dataSource, stepping } = await openApp();
      const other = await open();
      const order = (target: Parameters<typeof inTransaction>[1]) =>
        errorOf(inTransaction(stepping, target, ({ manager }) => place(manager)));
      const unknown = await order(other);
      expect(unknown).toMatchObject({ code: 'DB_UNKNOWN' });
      expect(unknown.message).toMatch(/Add typeormDb\(\{ dataSource \}\).*registered is 'default'/);
      const unnamed = await order({ db: 'shop' });
      expect(unnamed).toMatchObject({ code: 'DB_UNKNOWN' });
      expect(unnamed.message).toMatch(/typeormDb\(\{ name: 'shop', dataSource \}\)/);
      expect(await order({ db: 'default', dataSource: other })).toMatchObject({ code: 'DB_MISMATCH' });
      expect([await orders(dataSource), await orders(other)]).toEqual([[], []]);
    });

    it('finds the database of a tenant', async () => {
      const tenants: Record<string, DataSource> = { acme: await open(), umbrella: await open() };
      const resolve = (tenant: string) => {
        const found = tenants[tenant];
        if (found === undefined) throw new Error(`no tenant ${tenant}`);
        return found;
      };
      const stepping = await started({ use: [typeormDb({ name: 'tenants', resolve })] });
      for (const tenant of Object.keys(tenants)) await stepping.migrate({ tenant });
      const order = (target: { tenant?: string; db?: string; dataSource?: DataSource }) =>
        inTransaction(stepping, target, async ({ manager, job }) => {
          await place(manager);
          return job.addStep(sendMail, { order: 1 }).gid;
        });
      const gid = await order({ db: 'tenants', tenant: 'acme' });
      await order({ dataSource: resolve('umbrella'), tenant: 'umbrella' });
      expect([(await orders(resolve('acme'))).length, (await orders(resolve('umbrella'))).length]).toEqual([1, 1]);
      expect(await stepping.jobs.find(gid)).toMatchObject({ tenant: 'acme', status: 'submitted' });

      expect(await errorOf(order({ db: 'tenants' }))).toMatchObject({
        code: 'DB_UNKNOWN',
        message: expect.stringMatching(/one per tenant/),
      });
      expect(await errorOf(order({ dataSource: resolve('acme') }))).toMatchObject({
        code: 'DB_UNKNOWN',
        message: expect.stringMatching(/pass { db, tenant }/),
      });
      expect(await errorOf(order({ db: 'tenants', dataSource: resolve('acme'), tenant: 'umbrella' }))).toMatchObject({
        code: 'DB_MISMATCH',
      });
      expect(await errorOf(order({ db: 'tenants', tenant: 'nobody' }))).toMatchObject({ message: 'no tenant nobody' });
    });
  });
}

for (const database of [sqlite, sqliteWithoutWal]) {
  database.describe(`inTransaction on ${database.name}, one at a time`, () => {
    const openApp = async () => {
      const dataSource = await database.open();
      opened.push(dataSource);
      return { dataSource, stepping: await started({ use: [typeormDb({ dataSource })] }) };
    };

    it('refuses another one on the same file inside of it, at once', async () => {
      const { dataSource, stepping } = await openApp();
      await inTransaction(stepping, dataSource, async ({ manager }) => {
        await manager.save(Order, { what: 'outer' });
        expect(await errorOf(inTransaction(stepping, dataSource, async () => {}))).toMatchObject({ code: 'TX_NESTED' });
      });
      expect(await dataSource.getRepository(Order).count()).toBe(1);
    });

    it('allows another one in another file', async () => {
      const { dataSource, stepping } = await openApp();
      const other = await openApp();
      await inTransaction(stepping, dataSource, () =>
        inTransaction(other.stepping, other.dataSource, ({ manager }) => manager.save(Order, { what: 'inner' })),
      );
      expect(await other.dataSource.getRepository(Order).count()).toBe(1);
    });

    it('waits for another process that has the lock of the file, while everything else goes on', async () => {
      const { dataSource, stepping } = await openApp();
      const elsewhere = await database.another(dataSource).initialize();
      opened.push(elsewhere);
      await elsewhere.query('begin immediate');
      let began = false;
      const done = inTransaction(stepping, dataSource, async ({ manager }) => {
        began = true;
        await manager.save(Order, { what: 'waited' });
      });
      for (let i = 0; i < 20; i++) await turn();
      expect(began).toBe(false);
      await elsewhere.query('commit');
      await done;
      expect(began).toBe(true);
    });

    it('reads and writes without meeting what another process wrote in between', async () => {
      const { dataSource, stepping } = await openApp();
      const elsewhere = await database
        .another(dataSource)
        .setOptions({ timeout: 0 } as object)
        .initialize();
      opened.push(elsewhere);
      await inTransaction(stepping, dataSource, async ({ manager }) => {
        const before = await manager.count(Order);
        await elsewhere.query(`insert into "order" (what) values ('theirs')`).catch(() => {});
        await manager.save(Order, { what: `after ${before}` });
      });
      expect(await dataSource.getRepository(Order).find()).toEqual([{ id: 1, what: 'after 0' }]);
    });

    it('accepts an isolation level, which SQLite always exceeds', async () => {
      const { dataSource, stepping } = await openApp();
      await inTransaction(stepping, { dataSource, isolationLevel: 'REPEATABLE READ' }, ({ manager }) => manager.save(Order, { what: 'x' }));
    });

    it('serves several apps on one DataSource, and outlives the stop of one', async () => {
      const { dataSource, stepping } = await openApp();
      const second = await started({ use: [typeormDb({ dataSource })] });
      const order = (app: Stepping) => inTransaction(app, dataSource, ({ manager }) => manager.save(Order, { what: 'x' }));
      await Promise.all([order(stepping), order(second), order(stepping)]);
      await stepping.stop();
      await order(second);
      expect(await dataSource.getRepository(Order).count()).toBe(4);
    });
  });
}

postgres.describe('inTransaction on PostgreSQL, in particular', () => {
  const openApp = async (options?: object) => {
    const dataSource = await postgres.open(options);
    opened.push(dataSource);
    return { dataSource, stepping: await started({ use: [typeormDb({ dataSource })] }) };
  };

  it('gives its connection back, whatever happens', async () => {
    const { dataSource, stepping } = await openApp({ poolSize: 1 });
    for (let i = 0; i < 3; i++) {
      await inTransaction(stepping, dataSource, async ({ job }) => void job.addStep(sendMail, { order: 1 }));
      await errorOf(inTransaction(stepping, dataSource, ({ manager }) => manager.query('nonsense')));
      await errorOf(inTransaction(stepping, { dataSource, gid: 'a b' }, async () => {}));
      await errorOf(inTransaction(stepping, { dataSource, isolationLevel: 'NONE' as 'SERIALIZABLE' }, async () => {}));
    }
    expect(await dataSource.query('select 1 as one')).toEqual([{ one: 1 }]);
  });

  it('takes the isolation level that is asked for', async () => {
    const { dataSource, stepping } = await openApp();
    const level = await inTransaction(stepping, { dataSource, isolationLevel: 'SERIALIZABLE' }, ({ manager }) =>
      manager.query('show transaction_isolation'),
    );
    expect(level).toEqual([{ transaction_isolation: 'serializable' }]);
  });

  it('allows one inside another: they are two', async () => {
    const { dataSource, stepping } = await openApp();
    await errorOf(
      inTransaction(stepping, dataSource, async () => {
        await inTransaction(stepping, dataSource, ({ manager }) => manager.save(Order, { what: 'inner' }));
        throw new Error('outer');
      }),
    );
    expect(await dataSource.getRepository(Order).count()).toBe(1);
  });

  it('lets a serialization failure pass as it is, so that a retry loop sees it', async () => {
    const { dataSource, stepping } = await openApp();
    await dataSource.getRepository(Order).save({ id: 1, what: 'a' });
    const error = await errorOf(
      inTransaction(stepping, { dataSource, isolationLevel: 'REPEATABLE READ' }, async ({ manager, job }) => {
        await manager.find(Order);
        await dataSource.getRepository(Order).update(1, { what: 'b' });
        job.addStep(sendMail, { order: 1 });
        await manager.update(Order, 1, { what: 'c' });
      }),
    );
    expect(error).toMatchObject({ name: 'QueryFailedError', driverError: { code: '40001' } });
  });

  it('does not call a rollback by PostgreSQL a commit', async () => {
    const { dataSource, stepping } = await openApp();
    const swallow = async ({ manager }: { manager: EntityManager }) => {
      await manager.save(Order, { what: 'lost' });
      await errorOf(manager.query('select 1/0'));
    };
    expect(await errorOf(inTransaction(stepping, dataSource, swallow))).toMatchObject({ code: 'TX_NOT_ACTIVE' });
    const withJob = await errorOf(
      inTransaction(stepping, dataSource, async (tx) => {
        tx.job.addStep(sendMail, { order: 1 });
        await swallow(tx);
      }),
    );
    expect(withJob).toMatchObject({ driverError: { code: '25P02' } });
    expect(await dataSource.getRepository(Order).count()).toBe(0);
  });

  it('keeps its barriers in the schema of the DataSource, whatever the search path says', async () => {
    const plain = await postgres.open();
    opened.push(plain);
    await plain.query('create schema shop');
    const dataSource = await postgres
      .another(plain)
      .setOptions({ schema: 'shop', synchronize: true } as object)
      .initialize();
    opened.push(dataSource);
    const stepping = await started({ use: [typeormDb({ dataSource })] });
    const gid = await inTransaction(stepping, dataSource, async ({ manager, job }) => {
      await manager.query('set local search_path = pg_catalog');
      return job.addStep(sendMail, { order: 1 }).gid;
    });
    expect(await plain.query('select gid, reason from shop.stepping_barrier')).toEqual([{ gid, reason: 'msg' }]);
  });
});
