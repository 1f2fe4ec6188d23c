import { afterEach, expect, it, jest } from '@jest/globals';
import { createStepping, type DbProvider, DbProviders, type DbRef, defineStep, type Stepping, TransactionManager } from '@stepping/core';
import { Clock, localTm, type MemoryStorePlugin, memoryStore } from '@stepping/tm-local';
import { createTestStepping, virtualClock } from '@stepping/tm-local/testing';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { DataSource } from 'typeorm';
import { inTransaction, once, typeormDb, typeormTransaction } from '../src/index.js';
import { errorOf, sendMail } from './support/apps.js';
import { newFile, Order, postgres, sqlite, type TestDatabase } from './support/databases.js';
import { openWay, type WayToServer } from './support/way-to-server.js';

const closing: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  jest.useRealTimers();
  for (const close of closing.splice(0).reverse()) await close();
});

/** DataSources by tenant, as an application keeps them; `resolve` is what it gives to `typeormDb`. */
class Tenants {
  readonly byName = new Map<string, DataSource>();
  /** Instead of an answer. */
  readonly instead = new Map<string, () => DataSource | Promise<DataSource>>();
  readonly resolve = (tenant: string): DataSource | Promise<DataSource> => {
    const instead = this.instead.get(tenant);
    if (instead) return instead();
    const found = this.byName.get(tenant);
    if (!found) throw new Error(`There is no tenant ${tenant}`);
    return found;
  };

  async add(tenant: string, dataSource: DataSource | Promise<DataSource>): Promise<DataSource> {
    const opened = await dataSource;
    closing.push(async () => opened.isInitialized && opened.destroy());
    this.byName.set(tenant, opened);
    return opened;
  }
}

interface AppOptions {
  readonly store: MemoryStorePlugin;
  readonly tenants: Tenants;
  /** Left out: jobs are only started here. */
  readonly runs?: boolean;
  readonly clock?: Clock;
}

/** One process. Several over one store are several processes. */
async function anApp({ store, tenants, runs = false, clock }: AppOptions): Promise<Stepping> {
  const tm = localTm({ store, processor: runs && hostedProcessor({ maxPollMs: clock ? 5_000 : 50 }), prepareTimeoutMs: 50 });
  const app = createStepping({
    steps: [sendMail],
    tm: {
      ...tm,
      register(registry) {
        tm.register?.(registry);
        if (clock) registry.provide(Clock, () => clock);
      },
    },
    use: [typeormDb({ name: 'tenants', resolve: tenants.resolve })],
  });
  closing.push(() => app.stop({ drainTimeoutMs: 0 }));
  await app.start();
  return app;
}

/** A process that dies between its commit and its submit: the job stays prepared. */
async function dieAfterCommit(app: Stepping, dataSource: DataSource, tenant: string, gid: string): Promise<void> {
  const runner = dataSource.createQueryRunner();
  await runner.startTransaction();
  const transaction = typeormTransaction(runner, { db: 'tenants', tenant });
  await app.createJob({ gid, transaction }).addStep(sendMail, { order: 1 }).prepare();
  await runner.commitTransaction();
  await runner.release();
}

/** Many processes that died before their barrier was committed. */
async function prepareMany(app: Stepping, tenant: string, count: number): Promise<void> {
  const tm = app.resolve(TransactionManager);
  const db: DbRef = { provider: 'typeorm', name: 'tenants', tenant };
  const steps = [{ name: 'order.send-mail', queue: 'default', args: '{"order":1}' }];
  await Promise.all(
    Array.from({ length: count }, (_, i) => tm.prepare({ gid: `${tenant}-${i}`, instance: 'dead', drawn: true, tenant, db, steps })),
  );
}

const untilTrue = async (condition: () => Promise<boolean>) => {
  while (!(await condition())) await new Promise((resolve) => setImmediate(resolve));
};

for (const database of [sqlite, postgres] as TestDatabase[]) {
  database.describe(`Tenants with a database each, on ${database.name}`, () => {
    it('wait for nobody: of 50 one is dead, with a thousand jobs that nobody can decide, and all the others go on', async () => {
      const tenants = new Tenants();
      const store = memoryStore();
      const dying = await anApp({ store, tenants });
      const names = Array.from({ length: 49 }, (_, i) => `tenant-${i}`);
      const open = async (name: string) => {
        const dataSource = await tenants.add(name, database.open(database === postgres ? { poolSize: 1 } : {}));
        await dying.migrate({ tenant: name });
        return dataSource;
      };
      for (let i = 0; i < names.length; i += 7) await Promise.all(names.slice(i, i + 7).map(open));
      // Its host does not answer at all: the slowest way of being down.
      tenants.instead.set('dead', () => new Promise(() => {}));
      await prepareMany(dying, 'dead', 1_000);
      for (const name of names) await dieAfterCommit(dying, tenants.byName.get(name) as DataSource, name, name);

      const app = await anApp({ store, tenants, runs: true });
      // Not even the first question to the dead one is given up before all the others are through.
      const { promise: othersAreThrough, resolve } = Promise.withResolvers<void>();
      const [provider] = app.resolve(DbProviders).all() as [DbProvider];
      const ask = provider.resolveInDoubt.bind(provider);
      provider.resolveInDoubt = async (gid, instance, ref) => {
        const answer = await ask(gid, instance, ref);
        if (ref.tenant === 'dead') await othersAreThrough;
        return answer;
      };
      await untilTrue(async () => (await app.jobs.stats()).succeeded === names.length);
      expect(await app.jobs.stats()).toMatchObject({ succeeded: 49, prepared: 1_000 });
      resolve();
    }, 60_000);

    it('are asked again with other credentials once these were changed, and the old connections are closed', async () => {
      const tenants = new Tenants();
      const store = memoryStore();
      const first = await tenants.add('acme', database.open());
      const dying = await anApp({ store, tenants });
      await dying.migrate({ tenant: 'acme' });
      const app = await anApp({ store, tenants });
      const [provider] = app.resolve(DbProviders).all() as [DbProvider];
      const ref = { provider: 'typeorm', name: 'tenants', tenant: 'acme' };
      await dieAfterCommit(dying, first, 'acme', 'before');
      expect(await provider.resolveInDoubt('other', 'i', ref)).toBe('rolled-back'); // it has connections now

      const second = await changeCredentials(database, first);
      tenants.instead.set('acme', () => second);
      closing.push(() => second.destroy());
      await first.destroy();
      const runs = await anApp({ store, tenants, runs: true });
      await untilTrue(async () => (await runs.jobs.find('before'))?.status === 'succeeded');
      expect(await provider.resolveInDoubt('another', 'i', ref)).toBe('rolled-back');
      if (database === postgres) {
        const ofOld = `select pid from pg_stat_activity where usename = 'old_user' and datname = current_database()`;
        await untilTrue(async () => (await second.query(ofOld)).length === 0);
      }
    });

    it('whose database is gone for good are settled by hand, and then their jobs end', async () => {
      const tenants = new Tenants();
      const store = memoryStore();
      const app = await anApp({ store, tenants, runs: true });
      await prepareMany(app, 'deleted', 2);
      await app.jobs.settle('deleted-0', 'submitted', 'the contract says that it was paid');
      await app.jobs.settle('deleted-1', 'rolled-back', 'the tenant has left');
      await untilTrue(async () => (await app.jobs.find('deleted-0'))?.status === 'succeeded');
      expect(await app.jobs.find('deleted-1')).toMatchObject({ status: 'rolled-back', lastError: { message: 'the tenant has left' } });
    });

    it('have the barriers of their steps in their own databases, and purged there', async () => {
      const tenants = new Tenants();
      const effect = defineStep({
        name: 'effect',
        run: (context) =>
          once(tenants.byName.get(context.tenant as string) as DataSource, context, (manager) => manager.save(Order, { what: 'x' })),
      });
      const app = await createTestStepping({ steps: [effect], use: [typeormDb({ name: 'tenants', resolve: tenants.resolve })] });
      closing.push(() => app.stop({ drainTimeoutMs: 0 }));
      const left = async () => {
        const rows = [...tenants.byName.values()].map(async (dataSource) =>
          (await dataSource.query('select gid from stepping_barrier')).map(({ gid }: any) => gid),
        );
        return (await Promise.all(rows)).flat();
      };
      for (const tenant of ['acme', 'umbrella']) {
        await tenants.add(tenant, database.open());
        await app.migrate({ tenant });
        await app
          .createJob({ gid: `of-${tenant}`, tenant })
          .addStep(effect)
          .start();
      }
      await app.createJob({ gid: 'of-nobody' }).addStep(effect).start();
      await app.drain();
      expect((await app.jobs.list()).jobs.map(({ gid, status }) => `${gid} ${status}`)).toEqual([
        'of-acme succeeded',
        'of-nobody submitted',
        'of-umbrella succeeded',
      ]);
      expect(await left()).toEqual(['of-acme', 'of-umbrella']);

      for (const dataSource of tenants.byName.values()) {
        await dataSource.query(
          database === postgres
            ? "update stepping_barrier set created_at = created_at - interval '1 day'"
            : "update stepping_barrier set created_at = strftime('%Y-%m-%dT%H:%M:%fZ', created_at, '-1 day')",
        );
      }
      await app.clock.advance(86_400_000);
      expect(await app.jobs.purge({ finishedBefore: app.clock.now() })).toEqual({ purged: 2 });
      expect(await left()).toEqual([]);
    });

    it('whose database was never migrated are told so, whatever is tied to it', async () => {
      const tenants = new Tenants();
      const app = await anApp({ store: memoryStore(), tenants });
      const dataSource = await tenants.add('new', database.open());
      const refused = { code: 'STORE_REFUSED', message: expect.stringMatching(/stepping\.migrate\({ tenant }\)/) };
      const order = () => inTransaction(app, { dataSource, tenant: 'new' }, async ({ job }) => void job.addStep(sendMail, { order: 1 }));
      const receive = () => once(dataSource, 'key', async () => 1, { tenant: 'new' });
      expect(await errorOf(order)).toMatchObject(refused);
      expect(await errorOf(receive)).toMatchObject(refused);
      await app.migrate({ tenant: 'new' });
      await order();
      expect(await receive()).toEqual({ ran: true, value: 1 });
    });

    it('whose database answers are not settled against what it says', async () => {
      const tenants = new Tenants();
      const app = await anApp({ store: memoryStore(), tenants });
      const dataSource = await tenants.add('acme', database.open());
      await app.migrate({ tenant: 'acme' });
      await dieAfterCommit(app, dataSource, 'acme', 'paid');
      expect(await errorOf(app.jobs.settle('paid', 'rolled-back', 'a mistake'))).toMatchObject({ code: 'JOB_STATUS' });
    });

    it('are known by name and DataSource: another one is refused, and so is a tenant that is none', async () => {
      const tenants = new Tenants();
      const app = await anApp({ store: memoryStore(), tenants });
      const acme = await tenants.add('acme', database.open());
      const umbrella = await tenants.add('umbrella', database.open());
      for (const tenant of ['acme', 'umbrella']) await app.migrate({ tenant });
      const order = (dataSource: DataSource, tenant: string | undefined) =>
        errorOf(inTransaction(app, { dataSource, db: 'tenants', tenant }, async ({ job }) => void job.addStep(sendMail, { order: 1 })));
      expect(await order(acme, 'umbrella')).toMatchObject({ code: 'DB_MISMATCH' });
      expect(await order(acme, undefined)).toMatchObject({ code: 'DB_UNKNOWN' });
      expect(await order(acme, 'nobody')).toMatchObject({ message: 'There is no tenant nobody' });
      expect(await errorOf(once(umbrella, 'key', async () => {}, { tenant: 'acme' }))).toMatchObject({ code: 'DB_UNKNOWN' });
      expect(await once(umbrella, 'key', async () => 1, { tenant: 'umbrella' })).toEqual({ ran: true, value: 1 });
      await umbrella.destroy();
      expect(await order(umbrella, 'umbrella')).toMatchObject({ code: 'STORE_UNAVAILABLE', message: expect.stringMatching(/destroyed/) });
    });
  });
}

sqlite.describe('A tenant whose DataSource cannot be had', () => {
  const setUp = async (answer: () => any) => {
    const tenants = new Tenants();
    tenants.instead.set('acme', answer);
    const app = await anApp({ store: memoryStore(), tenants });
    const [provider] = app.resolve(DbProviders).all() as [DbProvider];
    return { provider, ref: { provider: 'typeorm', name: 'tenants', tenant: 'acme' } };
  };

  it.each<[string, () => any]>([
    ['throws', () => Promise.reject(new Error('no directory'))],
    ['gives none', () => undefined],
    ['gives one that is not connected', () => new DataSource({ type: 'better-sqlite3', database: newFile() })],
  ])('is not decided about when resolve() %s', async (_, answer) => {
    const { provider, ref } = await setUp(answer);
    expect(await provider.resolveInDoubt('g', 'i', ref)).toBe('unknown');
    expect(provider.isReachable?.(ref)).toBe(false);
    expect(provider.isReachable?.({ ...ref, tenant: 'umbrella' })).toBe(true);
    await expect(provider.hasCommitted('g', 'i', ref)).rejects.toThrow();
  });

  it('is not waited for longer than five seconds when resolve() does not answer', async () => {
    const { provider, ref } = await setUp(() => new Promise(() => {}));
    jest.useFakeTimers();
    let answer: string | undefined;
    void provider.resolveInDoubt('g', 'i', ref).then((given) => {
      answer = given;
    });
    await jest.advanceTimersByTimeAsync(4_999);
    expect(answer).toBeUndefined();
    await jest.advanceTimersByTimeAsync(1);
    expect(answer).toBe('unknown');
  });
});

postgres.describe('A tenant whose database is down for an hour', () => {
  it('delays its own jobs and nobody else’s, is asked little meanwhile, and catches up within a minute of its return', async () => {
    const tenants = new Tenants();
    const store = memoryStore();
    const clock = virtualClock();
    const starts = await anApp({ store, tenants, clock });
    const ways = new Map<string, WayToServer>();
    for (const name of ['down', 'up-1', 'up-2', 'up-3']) {
      const direct = await tenants.add(name, postgres.open({ poolSize: 2 }));
      const way = await openWay((direct.options as { url: string }).url);
      closing.push(() => way.close());
      ways.set(name, way);
      await starts.migrate({ tenant: name });
      await tenants.add(
        name,
        postgres
          .another(direct)
          .setOptions({ url: way.url } as object)
          .initialize(),
      );
    }
    for (let i = 0; i < 20; i++) await dieAfterCommit(starts, tenants.byName.get('down') as DataSource, 'down', `committed-${i}`);
    await prepareMany(starts, 'down', 100);
    ways.get('down')?.become('refuses');

    const app = await anApp({ store, tenants, runs: true, clock });
    const open = countQuestions(app);
    /** Time passes, and every question in it gets its answer. */
    const pass = async (seconds: number) => {
      for (let i = 0; i < seconds; i++) {
        await clock.advance(1_000);
        await untilTrue(async () => open.now === 0);
      }
    };
    const stateOf = async (gid: string) => (await app.jobs.find(gid))?.status;

    for (let minutes = 0; minutes < 60; minutes += 20) {
      for (const name of ['up-1', 'up-2', 'up-3'])
        await dieAfterCommit(starts, tenants.byName.get(name) as DataSource, name, `${name}-${minutes}`);
      await pass(6);
      for (const name of ['up-1', 'up-2', 'up-3']) expect(await stateOf(`${name}-${minutes}`)).toBe('succeeded');
      await clock.advance(20 * 60_000);
      await pass(5);
    }
    expect((await app.jobs.stats()).prepared).toBe(120);
    // One every five seconds, not one for each job again and again.
    expect(open.of('down')).toBeLessThan(3_600 / 5);

    ways.get('down')?.become('open');
    await pass(60);
    expect(await app.jobs.stats()).toMatchObject({ prepared: 0, 'rolled-back': 100, succeeded: 20 + 9 });
  }, 60_000);
});

/** How many questions are open, and how many there were to each tenant's database. */
function countQuestions(app: Stepping): { readonly now: number; of(tenant: string): number } {
  const [provider] = app.resolve(DbProviders).all() as [DbProvider];
  const counts = new Map<string, number>();
  let now = 0;
  const ask = provider.resolveInDoubt.bind(provider);
  provider.resolveInDoubt = async (gid, instance, ref) => {
    now++;
    counts.set(ref.tenant ?? '', (counts.get(ref.tenant ?? '') ?? 0) + 1);
    try {
      return await ask(gid, instance, ref);
    } finally {
      now--;
    }
  };
  return {
    get now() {
      return now;
    },
    of: (tenant) => counts.get(tenant) ?? 0,
  };
}

/** PostgreSQL: another user, and the one before may no longer log in. SQLite knows none: another DataSource. */
async function changeCredentials(database: TestDatabase, before: DataSource): Promise<DataSource> {
  if (database !== postgres) return database.another(before).initialize();
  const role = `tenant_${process.pid}_${Date.now()}`;
  await before.query(`create role ${role} login superuser`);
  const url = new URL((before.options as { url: string }).url);
  url.username = role;
  const after = await database
    .another(before)
    .setOptions({ url: url.href } as object)
    .initialize();
  return after;
}
