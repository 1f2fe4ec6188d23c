import { mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, describe, expect, it } from '@jest/globals';
import { SteppingError } from '@stepping/core';
import { postgresDatabase, type TestService, testService } from '@stepping/test-services';
import { DataSource, EntitySchema } from 'typeorm';
import {
  assertInMysqlTransaction,
  checkMigrations,
  closeConnection,
  commitOutcome,
  dialectOf,
  fileTurns,
  isBusy,
  isDeadlock,
  isDefiniteRefusal,
  isInMemory,
  isLockTimeout,
  isUniqueViolation,
  type Migrations,
  mysqlTransactionOf,
  originOf,
  ownDataSource,
  type Place,
  runMigrations,
  schemaOf,
  sqliteConnectionOf,
  toTypeormMigrations,
  transactionalClone,
  untilNotBusy,
  withMysqlConnection,
  withPostgresConnection,
} from '../src/index.js';

const postgres = await testService('postgres');
const mysqls = [await testService('mariadb'), await testService('mysql')];
const folder = mkdtempSync(join(tmpdir(), 'stepping-typeorm-'));
const opened: DataSource[] = [];
let files = 0;

afterEach(async () => {
  for (const dataSource of opened.splice(0)) if (dataSource.isInitialized) await dataSource.destroy();
});
afterAll(() => rmSync(folder, { recursive: true }));

async function connected(dataSource: DataSource): Promise<DataSource> {
  opened.push(dataSource);
  return dataSource.initialize();
}

const newFile = () => join(folder, `${++files}.sqlite`);
const sqlite = (database = newFile(), options: object = {}) => connected(new DataSource({ type: 'better-sqlite3', database, ...options }));
const postgresql = async (options: object = {}) =>
  connected(new DataSource({ type: 'postgres', url: await postgresDatabase(), ...options }));

const mysqlOn = async (service: TestService, options: object = {}) =>
  connected(new DataSource({ type: 'mariadb', url: await service.database(), ...options }));

async function failureOf(work: Promise<unknown>): Promise<any> {
  return work.then(
    () => {
      throw new Error('it did not fail');
    },
    (error) => error,
  );
}

const migrations = (count: number): Migrations => ({
  owner: 'test',
  recordTable: 'test_migration',
  list: Array.from({ length: count }, (_, i) => ({
    version: i + 1,
    name: `Table${i + 1}`,
    statements: ({ table }) => [`create table ${table(`made_${i + 1}`)} (id integer primary key)`],
  })),
});

describe('the dialect of a DataSource', () => {
  it('is refused with the ones that are supported, for any other driver', () => {
    const refused = { options: { type: 'mssql' } } as DataSource;
    expect(() => dialectOf(refused)).toThrow(/'mssql' is not supported. Use type 'postgres' .*'mariadb' or 'mysql' .* or 'better-sqlite3'/);
    expect(() => dialectOf({ options: { type: 'cockroachdb' } } as DataSource)).toThrow(/cockroachdb/);
  });
});

describe('on SQLite', () => {
  it('has one queue of turns for a file, whatever path leads to it', () => {
    const file = newFile();
    const one = new DataSource({ type: 'better-sqlite3', database: file });
    const link = join(folder, 'link');
    symlinkSync(folder, link);
    const other = new DataSource({ type: 'better-sqlite3', database: join(link, `${files}.sqlite`) });
    expect(fileTurns(one).key).toBe(fileTurns(other).key);
  });

  it('knows what lives in memory', () => {
    const inMemory = (database: string) => isInMemory(new DataSource({ type: 'better-sqlite3', database }));
    expect([':memory:', '', ' :memory: ', 'file::memory:?cache=shared'].map(inMemory)).toEqual([true, true, true, true]);
    expect(inMemory(newFile())).toBe(false);
  });

  it('opens a connection of our own that waits for no lock and flushes every commit', async () => {
    const users = await sqlite(undefined, { enableWAL: true });
    const own = await connected(ownDataSource(users, { poolSize: 1 }));
    const connection = sqliteConnectionOf(own);
    expect(connection).not.toBe(sqliteConnectionOf(users));
    expect(connection.pragma('busy_timeout', { simple: true })).toBe(0);
    expect(connection.pragma('synchronous', { simple: true })).toBe(2);
    expect(connection.pragma('journal_mode', { simple: true })).toBe('wal');
    expect(originOf(own)).toBe(users);
  });

  it('clones a DataSource once, with its entities and the very same subscribers, and closes it with the last share', async () => {
    const thing = new EntitySchema<{ id: number }>({ name: 'thing', columns: { id: { type: Number, primary: true } } });
    const users = await sqlite(undefined, { entities: [thing], synchronize: true, enableWAL: true });
    const [one, two] = await Promise.all([transactionalClone(users), transactionalClone(users)]);
    const again = await transactionalClone(one.dataSource);
    expect(two.dataSource).toBe(one.dataSource);
    expect(again.dataSource).toBe(one.dataSource);
    expect(originOf(one.dataSource)).toBe(users);
    expect(one.dataSource.subscribers).toBe(users.subscribers);

    await one.dataSource.getRepository(thing).save({ id: 1 });
    expect(await users.getRepository(thing).count()).toBe(1);

    await one.release();
    await one.release();
    await two.release();
    expect(one.dataSource.isInitialized).toBe(true);
    await again.release();
    expect(one.dataSource.isInitialized).toBe(false);

    const anew = await transactionalClone(users);
    expect(anew.dataSource.isInitialized).toBe(true);
    await anew.release();
  });

  it('waits for the lock of another connection without blocking, and gives up with the error of the driver', async () => {
    const users = await sqlite();
    await users.query('create table t (id integer primary key)');
    const holder = sqliteConnectionOf(await connected(ownDataSource(users, { poolSize: 1 })));
    const waiter = sqliteConnectionOf(await connected(ownDataSource(users, { poolSize: 1 })));
    holder.exec('begin immediate');
    const refused = await failureOf(untilNotBusy(() => waiter.exec('begin immediate'), 10));
    expect([isBusy(refused), isLockTimeout(refused), isDefiniteRefusal(refused)]).toEqual([true, true, true]);

    const waiting = untilNotBusy(() => waiter.exec('begin immediate'), 10_000);
    setImmediate(() => holder.exec('commit'));
    await waiting;
    expect(waiter.inTransaction).toBe(true);
    waiter.exec('rollback');
  });

  it('tells a taken key from other refusals', async () => {
    const users = await sqlite();
    await users.query('create table t (id integer primary key, name text unique)');
    await users.query("insert into t values (1, 'a')");
    const taken = await failureOf(users.query("insert into t values (1, 'b')"));
    expect([isUniqueViolation(taken), isDefiniteRefusal(taken), commitOutcome(taken)]).toEqual([true, true, 'unknown']);
    expect(isUniqueViolation(await failureOf(users.query("insert into t values (2, 'a')")))).toBe(true);
    expect(isUniqueViolation(await failureOf(users.query('insert into t values (null, null, null)')))).toBe(false);
  });
});

postgres.describe('on PostgreSQL', () => {
  it('opens a small pool of our own and survives the end of its idle connections', async () => {
    const users = await postgresql({ poolSize: 3 });
    const own = await connected(ownDataSource(users, { poolSize: 1 }));
    const pidOf = () =>
      withPostgresConnection(own, async (connection) => (await connection.query('select pg_backend_pid() as pid')).rows[0].pid);
    const pid = await pidOf();
    await users.query('select pg_terminate_backend($1)', [pid]);
    const newPid = await untilDefined(() => pidOf().catch(() => undefined));
    expect(newPid).not.toBe(pid);
    expect(schemaOf(own)).toBe('public');
  });

  it('does not wait for ever for a connection of a pool that is used up', async () => {
    const own = await connected(ownDataSource(await postgresql(), { poolSize: 1, connectTimeoutMs: 50 }));
    await withPostgresConnection(own, async () => {
      await expect(withPostgresConnection(own, async () => {})).rejects.toThrow(/timeout/);
    });
  });

  it('connects to the primary where there are replicas', async () => {
    const url = await postgresDatabase();
    const users = new DataSource({
      type: 'postgres',
      replication: { master: { url }, slaves: [{ url: 'postgres://nobody@127.0.0.1:1/nowhere' }] },
    });
    const own = await connected(ownDataSource(users, { poolSize: 1 }));
    expect(await own.query('select 1 as one')).toEqual([{ one: 1 }]);
  });

  it('gives a connection back clean after an error', async () => {
    const own = await connected(ownDataSource(await postgresql(), { poolSize: 1 }));
    const failed = await failureOf(
      withPostgresConnection(own, async (connection) => {
        await connection.query('begin');
        await connection.query('select 1/0');
      }),
    );
    expect(isDefiniteRefusal(failed)).toBe(true);
    const status = await withPostgresConnection(own, async (connection) => {
      await connection.query('select 1');
      return connection.getTransactionStatus?.();
    });
    expect(status).toBe('I');
  });

  it('takes only the answer of the server for a refusal: not a broken connection, not a shutdown', async () => {
    const users = await postgresql();
    const own = await connected(ownDataSource(users, { poolSize: 1, queryTimeoutMs: 200 }));
    const killed = await failureOf(
      withPostgresConnection(own, async (connection) => {
        const { pid } = (await connection.query('select pg_backend_pid() as pid')).rows[0];
        const hanging = connection.query('select pg_sleep(60)');
        await users.query('select pg_terminate_backend($1)', [pid]);
        await hanging;
      }),
    );
    expect([killed.code, isDefiniteRefusal(killed)]).toEqual(['57P01', false]);

    const tooLate = await failureOf(withPostgresConnection(own, (connection) => connection.query('select pg_sleep(60)')));
    expect(isDefiniteRefusal(tooLate)).toBe(false);

    await users.query('create table t (id int primary key)');
    await users.query('insert into t values (1)');
    const taken = await failureOf(users.query('insert into t values (1)'));
    expect([isUniqueViolation(taken), isDefiniteRefusal(taken)]).toEqual([true, true]);
  });

  it('knows that a refused COMMIT committed nothing, and that the error of any other statement proves nothing', async () => {
    const users = await postgresql();
    await users.query('create table t (id int unique deferrable initially deferred)');
    const runner = users.createQueryRunner();
    await runner.startTransaction();
    await runner.query('insert into t values (1), (1)');
    const refused = await failureOf(runner.commitTransaction());
    await runner.release();
    expect([isUniqueViolation(refused), commitOutcome(refused)]).toEqual([true, 'not-committed']);
    expect(commitOutcome(await failureOf(users.query('select 1/0')))).toBe('unknown');
  });

  it('tells that a lock was not had in time', async () => {
    const users = await postgresql();
    await users.query('create table t (id int)');
    const holder = users.createQueryRunner();
    await holder.startTransaction();
    await holder.query('lock table t');
    const refused = await failureOf(users.query("set lock_timeout = '20ms'; select * from t"));
    await holder.rollbackTransaction();
    await holder.release();
    expect([isLockTimeout(refused), isDefiniteRefusal(refused)]).toEqual([true, true]);
  });
});

for (const service of mysqls) {
  const TIMEOUTS = { lockTimeoutMs: 1_000, timeoutMs: 10_000 };

  service.describe(`on ${service.name}`, () => {
    const own = async (users: DataSource) => connected(ownDataSource(users, { poolSize: 1 }));
    const row = async (dataSource: DataSource, sql: string) =>
      (await withMysqlConnection(dataSource, TIMEOUTS, (send) => send(sql))).rows[0];

    it('sets up connections of our own, whatever the defaults are, and survives the end of idle ones', async () => {
      const users = await mysqlOn(service, { poolSize: 3, charset: 'latin1' });
      const ours = await own(users);
      const settings =
        'select @@autocommit as autocommit, @@sql_mode as mode, @@time_zone as zone, @@innodb_lock_wait_timeout as seconds, @@character_set_client as charset, connection_id() as id';
      const { id, ...rest } = await row(ours, settings);
      expect(rest).toEqual({
        autocommit: '1',
        mode: expect.stringMatching(/STRICT_ALL_TABLES/),
        zone: '+00:00',
        seconds: '1',
        charset: 'utf8mb4',
      });
      await users.query(`kill ${id}`);
      const again = await untilDefined(() => row(ours, settings).catch(() => undefined));
      expect(again).toEqual({ ...rest, id: expect.anything() });
      expect(again.id).not.toBe(id);
      expect(schemaOf(ours)).toBe(schemaOf(users));
      expect(originOf(ours)).toBe(users);
    });

    it('gives each work its own timeouts on one connection', async () => {
      const ours = await own(await mysqlOn(service));
      const seconds = (lockTimeoutMs: number) =>
        withMysqlConnection(ours, { lockTimeoutMs, timeoutMs: 10_000 }, async (send) =>
          Number((await send('select @@innodb_lock_wait_timeout as s')).rows[0].s),
        );
      expect([await seconds(60_000), await seconds(1_500), await seconds(60_000)]).toEqual([60, 2, 60]);
    });

    it('connects to the primary where there are replicas', async () => {
      const users = new DataSource({
        type: 'mariadb',
        replication: { master: { url: await service.database() }, slaves: [{ url: 'mysql://nobody@127.0.0.1:1/nowhere' }] },
      });
      expect(await (await own(users)).query('select 1 as one')).toEqual([{ one: 1 }]);
    });

    it('does not wait for ever for an answer, and gives no connection back of which it does not know the state', async () => {
      const ours = await own(await mysqlOn(service));
      const { id } = await row(ours, 'select connection_id() as id');
      const tooLate = await failureOf(withMysqlConnection(ours, { ...TIMEOUTS, timeoutMs: 50 }, (send) => send('select sleep(10)')));
      expect(isDefiniteRefusal(tooLate)).toBe(false);
      expect((await row(ours, 'select connection_id() as id')).id).not.toBe(id);
    });

    it('gives a connection back clean after a refusal', async () => {
      const users = await mysqlOn(service);
      const ours = await own(users);
      await users.query('create table t (id integer primary key)');
      const failed = await failureOf(
        withMysqlConnection(ours, TIMEOUTS, async (send) => {
          await send('begin');
          await send('insert into t values (1)');
          await send('insert into t values (1)');
        }),
      );
      expect([isUniqueViolation(failed), isDefiniteRefusal(failed)]).toEqual([true, true]);
      expect(await users.query('select * from t')).toEqual([]);
    });

    it('tells a lock that was not had in time, a deadlock, and a killed connection apart', async () => {
      const users = await mysqlOn(service);
      await users.query('create table t (id integer primary key, n integer)');
      await users.query('insert into t values (1, 0), (2, 0)');
      const [one, two] = [users.createQueryRunner(), users.createQueryRunner()];
      await one.startTransaction();
      await two.startTransaction();
      await two.query('set session innodb_lock_wait_timeout = 1');
      await one.query('update t set n = 1 where id = 1');
      const late = await failureOf(two.query('update t set n = 2 where id = 1'));
      expect([isLockTimeout(late), isDeadlock(late), isDefiniteRefusal(late)]).toEqual([true, false, true]);

      await two.query('set session innodb_lock_wait_timeout = default');
      await two.query('update t set n = 2 where id = 2');
      const [first, second] = await Promise.allSettled([
        one.query('update t set n = 1 where id = 2'),
        two.query('update t set n = 2 where id = 1'),
      ]);
      const victim = [first, second].find(({ status }) => status === 'rejected') as PromiseRejectedResult;
      expect([isDeadlock(victim.reason), isDefiniteRefusal(victim.reason), commitOutcome(victim.reason)]).toEqual([true, true, 'unknown']);

      const [{ id }] = await one.query('select connection_id() as id');
      await users.query(`kill ${id}`);
      const killed = await failureOf(one.query('select 1'));
      expect([isDefiniteRefusal(killed), commitOutcome(killed)]).toEqual([false, 'unknown']);
      await closeConnection(one, killed);
      await two.rollbackTransaction();
      await two.release();
    });

    it('knows when a transaction has ended although nobody ended it', async () => {
      const users = await mysqlOn(service);
      await users.query('create table t (id integer primary key)');
      const runner = users.createQueryRunner();
      await runner.startTransaction();
      expect(mysqlTransactionOf(runner)).toBe('unknown'); // it watches from here on
      await assertInMysqlTransaction(runner);
      expect(mysqlTransactionOf(runner)).toBe('open');
      await failureOf(runner.query('select nonsense'));
      expect(mysqlTransactionOf(runner)).toBe('unknown');
      await runner.query('insert into t values (1)');
      expect(mysqlTransactionOf(runner)).toBe('open');
      await runner.query('create table other (id integer primary key)');
      expect(mysqlTransactionOf(runner)).toBe('none');
      expect(SteppingError.is(await failureOf(assertInMysqlTransaction(runner)), 'TX_NOT_ACTIVE')).toBe(true);
      await runner.rollbackTransaction();
      await runner.release();
    });

    it('goes on with a migration of several statements where it was interrupted, or refused', async () => {
      const users = await mysqlOn(service);
      const ours = await own(users);
      const several = (third: (to: Place) => string): Migrations => ({
        owner: 'test',
        recordTable: 'test_migration',
        list: [
          {
            version: 1,
            name: 'Several',
            statements: (to) => [
              `create table ${to.table('made')} (id integer primary key)`,
              `alter table ${to.table('made')} add column first integer`,
              third(to),
            ],
          },
        ],
      });
      const made = several(({ table }) => `alter table ${table('made')} add column second integer`);
      const columns = async () => (await users.query('show columns from made')).map((column: { Field: string }) => column.Field);
      await users.query('create view in_the_way as select 1 as one');
      const broken = several(({ table }) => `alter table ${table('in_the_way')} add column x integer`);
      await failureOf(runMigrations(ours, broken));
      expect(await columns()).toEqual(['id', 'first']);

      await runMigrations(ours, made);
      expect(await columns()).toEqual(['id', 'first', 'second']);
      expect(await users.query('select owner, version, name from test_migration')).toEqual([
        { owner: 'test', version: 1, name: 'Several' },
      ]);

      // Died after the second statement, which nobody wrote down as done.
      await users.query('alter table made drop column second');
      await users.query(`update test_migration set owner = 'test begun', name = '1'`);
      await runMigrations(ours, made);
      expect(await columns()).toEqual(['id', 'first', 'second']);
    });
  });
}

for (const [name, open, suite] of [
  ['SQLite', sqlite, describe],
  ['PostgreSQL', postgresql, postgres.describe],
  ...mysqls.map((service) => [service.name, (options?: object) => mysqlOn(service, options), service.describe] as const),
] as const) {
  suite(`migrations on ${name}`, () => {
    const place = async () => {
      const users = await open();
      return { users, own: await connected(ownDataSource(users, { poolSize: 4 })) };
    };
    const isThere = async (dataSource: DataSource, table: string) => {
      const runner = dataSource.createQueryRunner();
      return runner.hasTable(table).finally(() => runner.release());
    };

    it('are applied once, however many do it at the same time, and later only what is missing', async () => {
      const { users, own } = await place();
      const others = await Promise.all([1, 2, 3].map(() => connected(ownDataSource(users, { poolSize: 1 }))));
      await Promise.all([own, ...others].map((dataSource) => runMigrations(dataSource, migrations(2))));
      await runMigrations(own, migrations(3));
      expect(await isThere(users, 'made_3')).toBe(true);
      expect(await users.query('select owner, version, name from test_migration order by version')).toEqual(
        [1, 2, 3].map((version) => ({ owner: 'test', version, name: `Table${version}` })),
      );
    });

    it('are all or nothing, where the database can undo a change of the schema', async () => {
      const { users, own } = await place();
      if (dialectOf(users) === 'mysql') return;
      const { list, ...rest } = migrations(1);
      const broken = { ...rest, list: [...list, { version: 2, name: 'Broken', statements: () => ['create nonsense'] }] };
      await expect(runMigrations(own, broken)).rejects.toThrow(/nonsense/);
      expect(await isThere(users, 'made_1')).toBe(false);
      await runMigrations(own, migrations(2));
      expect(await isThere(users, 'made_2')).toBe(true);
    });

    it('refuse a schema that is newer than the release', async () => {
      const { own } = await place();
      await runMigrations(own, migrations(3));
      const refused = await failureOf(runMigrations(own, migrations(2)));
      expect(SteppingError.is(refused, 'STORE_REFUSED')).toBe(true);
      expect(refused.message).toMatch(/version 3, and this release knows 2 only/);
      await expect(checkMigrations(own, migrations(2))).rejects.toThrow(/knows 2 only/);
    });

    it('can be looked at only, and are then refused when something is missing', async () => {
      const { own } = await place();
      await expect(checkMigrations(own, migrations(1))).rejects.toThrow(/version 0, and this release needs 1. Run stepping.migrate\(\)/);
      await runMigrations(own, migrations(1));
      await checkMigrations(own, migrations(1));
    });

    it('are the same as migrations of TypeORM', async () => {
      const users = await open(
        ...((name === 'SQLite'
          ? [undefined, { migrations: toTypeormMigrations(migrations(2)) }]
          : [{ migrations: toTypeormMigrations(migrations(2)) }]) as [any]),
      );
      const applied = await users.runMigrations();
      expect(applied.map((migration) => migration.name)).toEqual(['SteppingTestTable11760000000001', 'SteppingTestTable21760000000002']);
      const own = await connected(ownDataSource(users, { poolSize: 1 }));
      await checkMigrations(own, migrations(2));
      await runMigrations(own, migrations(2));
    });
  });
}

postgres.describe('migrations on PostgreSQL', () => {
  it('make their schema, and need no right to change anything once they are applied', async () => {
    const users = await postgresql();
    const inSchema = { ...migrations(1), schema: 'my jobs' };
    const own = await connected(ownDataSource(users, { poolSize: 1 }));
    await runMigrations(own, inSchema);
    expect(await users.query('select 1 as one from "my jobs".made_1')).toEqual([]);

    const role = `reader_${process.pid}_${Date.now()}`;
    await users.query(`create role ${role} login`);
    await users.query(`grant usage on schema "my jobs" to ${role}`);
    await users.query(`grant select on all tables in schema "my jobs" to ${role}`);
    const url = new URL((users.options as { url: string }).url);
    url.username = role;
    const reader = await connected(new DataSource({ type: 'postgres', url: url.href }));
    await runMigrations(reader, inSchema);
    await reader.destroy();
    await users.query(`drop owned by ${role}`);
    await users.query(`drop role ${role}`);
  });
});

async function untilDefined<T>(look: () => Promise<T | undefined>): Promise<T> {
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
  }
}
