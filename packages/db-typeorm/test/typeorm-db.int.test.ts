import { afterEach, describe, expect, it } from '@jest/globals';
import { DbProviders } from '@stepping/core';
import { type Dialect, dialectOf } from '@stepping/typeorm';
import { type BaseEntity, DataSource } from 'typeorm';
import { inTransaction, steppingBarrierMigrations, typeormDb } from '../src/index.js';
import { Author, Book } from './support/active-record.js';
import { anApp, errorOf, sendMail, started, stopApps } from './support/apps.js';
import { mysqls, newFile, Order, postgres, sqlite } from './support/databases.js';

const opened: DataSource[] = [];

afterEach(async () => {
  await stopApps();
  for (const dataSource of opened.splice(0)) if (dataSource.isInitialized) await dataSource.destroy();
});

async function keep(dataSource: Promise<DataSource>): Promise<DataSource> {
  opened.push(await dataSource);
  return dataSource;
}

const start = (dataSource: DataSource, name?: string) => anApp({ use: [typeormDb({ dataSource, name })] }).start();

for (const database of [sqlite, postgres, ...mysqls]) {
  database.describe(`typeormDb on ${database.name}`, () => {
    const hasTable = (dataSource: DataSource) => {
      const runner = dataSource.createQueryRunner();
      return runner.hasTable('stepping_barrier').finally(() => runner.release());
    };

    it('makes its table at start(), as often and as concurrently as it likes', async () => {
      const dataSource = await keep(database.open());
      await Promise.all([1, 2, 3].map(() => start(dataSource)));
      await start(dataSource);
      expect(await hasTable(dataSource)).toBe(true);
    });

    it('makes its table by migrate() alone, before start(); and nothing for a tenant that it does not serve', async () => {
      const dataSource = await keep(database.open());
      const stepping = anApp({ use: [typeormDb({ dataSource })] });
      await stepping.migrate({ tenant: 'acme' });
      expect(await hasTable(dataSource)).toBe(false);
      await stepping.migrate();
      expect(await hasTable(dataSource)).toBe(true);
      await stepping.start();
      await stepping.migrate();
    });

    it('is content with what migrations of TypeORM have made', async () => {
      const dataSource = await keep(database.open({ migrations: steppingBarrierMigrations() }));
      await dataSource.runMigrations();
      const before = await dataSource.query('select * from stepping_migration');
      const stepping = await started({ use: [typeormDb({ dataSource })] });
      await inTransaction(stepping, dataSource, async ({ job }) => void job.addStep(sendMail, { order: 1 }));
      expect(await dataSource.query('select * from stepping_migration')).toEqual(before);
    });

    it('refuses a table that a newer release has made', async () => {
      const dataSource = await keep(database.open());
      await start(dataSource);
      await dataSource.query("insert into stepping_migration (owner, version, name) values ('barrier', 99, 'Future')");
      expect(await errorOf(start(dataSource))).toMatchObject({
        code: 'STORE_REFUSED',
        message: expect.stringMatching(/barrier is at version 99/),
      });
    });

    it('refuses a DataSource that is not initialized, and a name that is taken', async () => {
      const dataSource = await keep(database.open());
      expect(await errorOf(start(database.another(dataSource)))).toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringMatching(/initialize\(\)/),
      });
      const twice = anApp({ use: [typeormDb({ dataSource }), typeormDb({ dataSource })] });
      expect(await errorOf(twice.start())).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringMatching(/"default"/) });
    });

    it('takes a barrier that is not there, although it was inserted, for no answer', async () => {
      const dataSource = await keep(database.open());
      const stepping = await started({ use: [typeormDb({ dataSource })] });
      for (const statement of SWALLOW[dialectOf(dataSource)]) await dataSource.query(statement);
      const provider = stepping.resolve(DbProviders).all()[0];
      expect(await provider?.resolveInDoubt('g', 'i', { provider: 'typeorm', name: 'default' })).toBe('unknown');
    });

    it('does not know a question it cannot ask', async () => {
      const dataSource = await keep(database.open());
      const stepping = await started({ use: [typeormDb({ dataSource })] });
      const provider = stepping.resolve(DbProviders).all()[0];
      await dataSource.query('drop table stepping_barrier');
      const ref = { provider: 'typeorm', name: 'default' };
      expect(await provider?.resolveInDoubt('g', 'i', ref)).toBe('unknown');
      await expect(provider?.hasCommitted('g', 'i', ref)).rejects.toThrow(/stepping_barrier/);
    });
  });
}

/** Makes every barrier that is inserted disappear (on MySQL: under another key). */
const SWALLOW: Record<Dialect, readonly string[]> = {
  postgres: [
    `create function swallow() returns trigger language plpgsql as 'begin return null; end'`,
    'create trigger swallow before insert on stepping_barrier for each row execute function swallow()',
  ],
  mysql: [`create trigger swallow before insert on stepping_barrier for each row set new.gid = concat('not ', new.gid)`],
  sqlite: ['create trigger swallow before insert on stepping_barrier begin select raise(ignore); end'],
};

describe('typeormDb', () => {
  it('refuses SQLite in memory, where a second connection would see another database', async () => {
    const dataSource = await keep(new DataSource({ type: 'better-sqlite3', database: ':memory:' }).initialize());
    expect(await errorOf(start(dataSource))).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringMatching(/in memory/) });
  });

  it('refuses a driver that is not supported, and names those that are', async () => {
    const dataSource = { options: { type: 'mssql' }, isInitialized: true } as DataSource;
    expect(await errorOf(start(dataSource))).toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(/'postgres'.*'mariadb'.*'better-sqlite3'/),
    });
  });

  it('starts although the databases of tenants are down', async () => {
    const resolve = async (): Promise<DataSource> => {
      throw new Error('down');
    };
    const stepping = await started({ use: [typeormDb({ name: 'tenants', resolve })] });
    expect(await errorOf(stepping.migrate({ tenant: 'acme' }))).toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(/down/),
    });
    const provider = stepping.resolve(DbProviders).all()[0];
    expect(await provider?.resolveInDoubt('g', 'i', { provider: 'typeorm', name: 'tenants', tenant: 'acme' })).toBe('unknown');
  });

  it("leaves entities that save themselves with the user's connection, and relations that load themselves out of other transactions", async () => {
    const dataSource = await keep(
      new DataSource({
        type: 'better-sqlite3',
        database: newFile(),
        entities: [Author, Book],
        synchronize: true,
        enableWAL: true,
      }).initialize(),
    );
    const stepping = await started({ use: [typeormDb({ dataSource })] });
    expect((Book as unknown as { dataSource: BaseEntity }).dataSource).toBe(dataSource);

    const author = await inTransaction(stepping, dataSource, async ({ manager }) => {
      const made = await manager.save(Author, { name: 'Ada' });
      await manager.query(`insert into book (title, "authorId") values ('Notes', ?)`, [made.id]);
      const found = await manager.findOneByOrFail(Author, { id: made.id });
      expect((await found.books).map(({ title }) => title)).toEqual(['Notes']);
      return manager.findOneByOrFail(Author, { id: made.id });
    });
    await inTransaction(stepping, dataSource, async ({ manager }) => {
      await manager.update(Book, { title: 'Notes' }, { title: 'Changed' });
      expect((await author.books).map(({ title }) => title)).toEqual(['Notes']);
    });
    expect(await Book.count()).toBe(1);
  });
});

postgres.describe('typeormDb on PostgreSQL, in particular', () => {
  it('refuses to start when the database is down', async () => {
    const dataSource = await keep(postgres.open());
    Object.assign(dataSource.options, { url: 'postgres://nobody@127.0.0.1:1/nowhere' });
    expect(await errorOf(start(dataSource))).toMatchObject({ code: 'STORE_UNAVAILABLE', message: expect.stringMatching(/ECONNREFUSED/) });
  });

  it('needs the right to create tables once', async () => {
    const owner = await keep(postgres.open());
    const role = `clerk_${process.pid}_${Date.now()}`;
    await owner.query(`create role ${role} login`);
    const url = new URL((owner.options as { url: string }).url);
    url.username = role;
    const clerk = await keep(
      postgres
        .another(owner)
        .setOptions({ url: url.href } as object)
        .initialize(),
    );
    expect(await errorOf(start(clerk))).toMatchObject({
      code: 'STORE_REFUSED',
      message: expect.stringMatching(/permission denied.*steppingBarrierMigrations\(\)/),
    });

    await start(owner);
    await owner.query(`grant select on stepping_migration to ${role}`);
    await owner.query(`grant select, insert, delete on stepping_barrier to ${role}`);
    await owner.query(`grant select, insert on "order" to ${role}`);
    await owner.query(`grant usage on all sequences in schema public to ${role}`);
    const stepping = await started({ use: [typeormDb({ dataSource: clerk })] });
    await inTransaction(stepping, clerk, async ({ manager, job }) => {
      job.addStep(sendMail, { order: (await manager.save(Order, { what: 'x' })).id });
    });
    await stepping.stop();
    await clerk.destroy();
    await owner.query(`drop owned by ${role}`);
    await owner.query(`drop role ${role}`);
  });

  it('opens few connections of its own, closes them at stop(), and survives their end before', async () => {
    const dataSource = await keep(postgres.open());
    const name = `app ${process.pid} ${Date.now()}`;
    const watched = await keep(
      postgres
        .another(dataSource)
        .setOptions({ applicationName: name } as object)
        .initialize(),
    );
    const stepping = await started({ use: [typeormDb({ dataSource: watched })] });
    const provider = stepping.resolve(DbProviders).all()[0];
    const ref = { provider: 'typeorm', name: 'default' };
    const ours = () =>
      dataSource.query('select pid from pg_stat_activity where application_name = $1', [name]) as Promise<{ pid: number }[]>;
    const users = (await ours()).length;

    const ask = () => Promise.all(Array.from({ length: 40 }, (_, i) => provider?.resolveInDoubt(`g${i}`, 'i', ref)));
    expect(new Set(await ask())).toEqual(new Set(['rolled-back']));
    expect((await ours()).length).toBeLessThanOrEqual(users + 3);
    for (const { pid } of await ours()) await dataSource.query('select pg_terminate_backend($1)', [pid]);
    while ((await ours()).length > 0) await new Promise((resolve) => setImmediate(resolve));
    while ((await ask()).includes('unknown'));
    await stepping.stop();
    await watched.destroy();
    while ((await ours()).length > 0) await new Promise((resolve) => setImmediate(resolve));
  });
});

for (const database of mysqls) {
  database.describe(`typeormDb on ${database.name}, in particular`, () => {
    it('refuses to start when the database is down', async () => {
      const dataSource = await keep(database.open());
      Object.assign(dataSource.options, { url: 'mysql://nobody@127.0.0.1:1/nowhere' });
      expect(await errorOf(start(dataSource))).toMatchObject({ code: 'STORE_UNAVAILABLE', message: expect.stringMatching(/ECONNREFUSED/) });
    });

    it('opens few connections of its own, closes them at stop(), and survives their end before', async () => {
      const dataSource = await keep(database.open({ poolSize: 1 }));
      const stepping = await started({ use: [typeormDb({ dataSource })] });
      const provider = stepping.resolve(DbProviders).all()[0];
      const ref = { provider: 'typeorm', name: 'default' };
      const ours = () =>
        dataSource.query('select id from information_schema.processlist where db = database() and id <> connection_id()') as Promise<
          { id: number }[]
        >;

      const ask = () => Promise.all(Array.from({ length: 40 }, (_, i) => provider?.resolveInDoubt(`g${i}`, 'i', ref)));
      expect(new Set(await ask())).toEqual(new Set(['rolled-back']));
      expect((await ours()).length).toBeLessThanOrEqual(3);
      for (const { id } of await ours()) await dataSource.query(`kill ${id}`);
      while ((await ours()).length > 0) await new Promise((resolve) => setImmediate(resolve));
      while ((await ask()).includes('unknown'));
      await stepping.stop();
      while ((await ours()).length > 0) await new Promise((resolve) => setImmediate(resolve));
    });
  });
}
