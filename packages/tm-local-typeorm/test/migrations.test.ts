import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeEach, expect, it } from '@jest/globals';
import { nodeArgsFor, testService } from '@stepping/test-services';
import type { Dialect } from '@stepping/typeorm';
import { DataSource } from 'typeorm';
import { steppingStoreMigrations, type TypeormStoreOptions } from '../src/index.js';
import { aJob, openStore } from './a-store.js';
import { dumpMysql, dumpPostgres, dumpSqlite } from './dump-schema.js';

const postgres = await testService('postgres');
const mysqls = [await testService('mariadb'), await testService('mysql')];
const folder = mkdtempSync(join(tmpdir(), 'stepping-schema-'));
let files = 0;

afterAll(() => rmSync(folder, { recursive: true }));

describe('on SQLite', () => {
  const options = async () => ({ type: 'better-sqlite3', database: join(folder, `${files++}.sqlite`) }) as const;
  describeMigrations('sqlite', options, dumpSqlite);
});

postgres.describe('on PostgreSQL', () => {
  const options = async () => ({ type: 'postgres', url: await postgres.database('schema') }) as const;
  describeMigrations('postgres', options, dumpPostgres);

  it('puts its tables where it is told to', async () => {
    const dataSource = await new DataSource(await options()).initialize();
    const store = openStore({ dataSource, schema: 'my "jobs"', tablePrefix: 'my_' });
    await store.start();
    await store.create([aJob({ gid: 'a' })]);
    await store.stop();
    expect(await dataSource.query('select gid from "my ""jobs""".my_job')).toEqual([{ gid: 'a' }]);
    expect(await dumpPostgres(dataSource)).toBe('');
    await dataSource.destroy();
  });

  it('starts without the right to change the schema when there is nothing to change', async () => {
    const { url } = await options();
    const dataSource = await new DataSource({ type: 'postgres', url }).initialize();
    await openStore({ dataSource }).migrate();
    const role = `worker_${Date.now()}`;
    await dataSource.query(`create role ${role} login`);
    await dataSource.query(`grant select, insert, update, delete on all tables in schema public to ${role}`);
    const asWorker = new URL(url);
    asWorker.username = role;
    const limited = await new DataSource({ type: 'postgres', url: asWorker.href }).initialize();
    const store = openStore({ dataSource: limited });
    await store.start();
    expect(await store.create([aJob({ gid: 'a' })])).toEqual([{ outcome: 'stored', lease: 1 }]);
    await store.stop();

    const elsewhere = openStore({ dataSource: limited, schema: 'public', tablePrefix: 'other_' }).start();
    await expect(elsewhere).rejects.toMatchObject({ code: 'STORE_REFUSED', message: expect.stringContaining('Grant') });
    await limited.destroy();
    await dataSource.query(`drop owned by ${role}`);
    await dataSource.query(`drop role ${role}`);
    await dataSource.destroy();
  });
});

for (const mysql of mysqls) {
  mysql.describe(`on ${mysql.name}`, () => {
    const options = async () => ({ type: 'mariadb', url: await mysql.database('schema') }) as const;
    describeMigrations('mysql', options, dumpMysql);
  });

  mysql.describe(`on ${mysql.name}, in particular`, () => {
    const options = async () => ({ type: 'mariadb', url: await mysql.database('schema') }) as const;
    let dataSource: DataSource;
    beforeEach(async () => {
      dataSource = await new DataSource(await options()).initialize();
    });
    const start = async () => {
      const store = openStore({ dataSource });
      await store.start().finally(() => store.stop());
    };
    afterEach(() => dataSource.destroy());

    it('goes on where a migration was interrupted: every statement is committed by itself there', async () => {
      await start();
      const schema = await dumpMysql(dataSource);
      // As if the process had died after the last statement, before it could say so.
      await dataSource.query(`update stepping_migration set owner = 'store begun', name = '0' where version = 2`);
      await start();
      expect(await dumpMysql(dataSource)).toBe(schema);
      expect(await dataSource.query('select owner, version from stepping_migration')).toEqual([
        { owner: 'store', version: 1 },
        { owner: 'store', version: 2 },
      ]);
    });

    it('never takes a table of others for its own, however often it is started', async () => {
      await dataSource.query('create table stepping_job (id integer primary key)');
      for (let i = 0; i < 3; i++) await expect(start()).rejects.toMatchObject({ code: 'STORE_REFUSED' });
      await dataSource.query('drop table stepping_job');
      await start();
      expect(await dumpMysql(dataSource)).toBe(readFileSync(join(import.meta.dirname, '../schema/mysql.sql'), 'utf8'));
    });

    it('puts its tables into the database that it is told, which must be there', async () => {
      const other = new URL(await mysql.database('other')).pathname.slice(1);
      const store = openStore({ dataSource, schema: other, tablePrefix: 'my_' });
      await store.start();
      await store.create([aJob({ gid: 'a' })]);
      await store.stop();
      expect(await dataSource.query(`select gid from \`${other}\`.my_job`)).toEqual([{ gid: 'a' }]);
      expect(await dumpMysql(dataSource)).toBe('');
      await expect(openStore({ dataSource, schema: 'not_there' }).start()).rejects.toMatchObject({ code: 'STORE_REFUSED' });
    });

    it('starts without the right to change the schema when there is nothing to change', async () => {
      await openStore({ dataSource }).migrate();
      const url = new URL((dataSource.options as { url: string }).url);
      const user = `worker_${Date.now()}`;
      await dataSource.query(`create user ${user}@'%' identified by 'secret'`);
      await dataSource.query(`grant select, insert, update, delete on \`${url.pathname.slice(1)}\`.* to ${user}@'%'`);
      Object.assign(url, { username: user, password: 'secret' });
      const limited = await new DataSource({ type: 'mariadb', url: url.href }).initialize();
      const store = openStore({ dataSource: limited });
      await store.start();
      expect(await store.create([aJob({ gid: 'a' })])).toEqual([{ outcome: 'stored', lease: 1 }]);
      await store.stop();

      const elsewhere = openStore({ dataSource: limited, tablePrefix: 'other_' }).start();
      await expect(elsewhere).rejects.toMatchObject({ code: 'STORE_REFUSED', message: expect.stringContaining('Grant') });
      await limited.destroy();
      await dataSource.query(`drop user ${user}@'%'`);
    });
  });
}

/** Now, and nine days ago. */
const TIMES: Record<Dialect, readonly [string, string]> = {
  sqlite: ['1', '1'],
  postgres: ['now()', `now() - interval '9 days'`],
  mysql: ['utc_timestamp(6)', 'utc_timestamp(6) - interval 9 day'],
};

function describeMigrations(
  dialect: Dialect,
  options: () => Promise<TypeormStoreOptions['dataSource']['options']>,
  dump: (dataSource: DataSource) => Promise<string>,
): void {
  const shipped = () => readFileSync(join(import.meta.dirname, `../schema/${dialect}.sql`), 'utf8');
  let dataSource: DataSource;

  beforeEach(async () => {
    dataSource = await new DataSource(await options()).initialize();
  });

  afterEach(() => dataSource.destroy());

  it('makes the schema that is shipped, at start', async () => {
    const store = openStore({ dataSource });
    await store.start();
    await store.stop();
    expect(await dump(dataSource)).toBe(shipped());
  });

  it('makes the same as TypeORM migrations, which migrate: false then takes', async () => {
    const users = await new DataSource({ ...dataSource.options, migrations: steppingStoreMigrations() }).initialize();
    await users.runMigrations();
    await users.query('drop table migrations'); // of TypeORM itself
    await users.destroy();
    expect(await dump(dataSource)).toBe(shipped());
    const store = openStore({ dataSource, migrate: false });
    await store.start();
    expect(await store.create([aJob({ gid: 'a' })])).toEqual([{ outcome: 'stored', lease: 1 }]);
    await store.stop();
  });

  it('takes TypeORM migrations where it has migrated itself already', async () => {
    await openStore({ dataSource }).migrate();
    const users = await new DataSource({ ...dataSource.options, migrations: steppingStoreMigrations() }).initialize();
    await users.runMigrations();
    await users.query('drop table migrations');
    await users.destroy();
    expect(await dump(dataSource)).toBe(shipped());
  });

  it('with migrate: false, refuses a schema that is not there, and says what makes it', async () => {
    const started = openStore({ dataSource, migrate: false }).start();
    await expect(started).rejects.toMatchObject({ code: 'STORE_REFUSED', message: expect.stringContaining('stepping.migrate()') });
    await openStore({ dataSource, migrate: false }).migrate();
    const store = openStore({ dataSource, migrate: false });
    await store.start();
    await store.stop();
  });

  it('refuses a schema that a newer release has made', async () => {
    await openStore({ dataSource }).migrate();
    await dataSource.query(`insert into stepping_migration (owner, version, name) values ('store', 1000, 'Future')`);
    await expect(openStore({ dataSource }).start()).rejects.toMatchObject({ code: 'STORE_REFUSED' });
    await expect(openStore({ dataSource, migrate: false }).start()).rejects.toMatchObject({ code: 'STORE_REFUSED' });
    await expect(openStore({ dataSource }).migrate()).rejects.toMatchObject({ code: 'STORE_REFUSED' });
  });

  const makeSchema1 = async () => {
    for (const statement of readFileSync(join(import.meta.dirname, `../schema/1/${dialect}.sql`), 'utf8').split(/;\n/)) {
      if (statement.trim() !== '') await dataSource.query(statement);
    }
    await dataSource.query(`insert into stepping_migration (owner, version, name) values ('store', 1, 'CreateJobTable')`);
  };

  it('upgrades schema 1 with a job of every status in it, which all go on from where they were', async () => {
    await makeSchema1();
    const [now, old] = TIMES[dialect];
    const statuses = ['prepared', 'submitted', 'succeeded', 'rolled-back', 'failed', 'cancelled', 'purging'] as const;
    for (const [code, status] of statuses.entries()) {
      const [dueAt, finishedAt] = code < 2 ? [now, 'null'] : ['null', old];
      const queue = status === 'prepared' ? '~db/typeorm/default' : 'default';
      await dataSource.query(
        `insert into stepping_job (gid, lease, due_at, created_at, finished_at, step, attempt, status, held, instance, queue, tenant, last_error, steps)
         values ('${status}', 7, ${dueAt}, ${old}, ${finishedAt}, 1, 3, ${code}, ${code === 1 ? 1 : 0}, 'i', '${queue}', 'acme', '{"name":"Error","message":"boom"}',
                 '{"v":1,"steps":[{"n":"first","a":{"order":1}},{"n":"second"}]}')`,
      );
    }

    const store = openStore({ dataSource });
    await store.start();
    for (const status of statuses) {
      const error = { name: 'Error', message: 'boom' };
      expect(await store.find(status)).toMatchObject({ status, lease: 7, step: 1, attempt: 3, instance: 'i', tenant: 'acme', error });
    }
    const { oldestDueMs: _, oldestPreparedMs, ...counts } = await store.stats();
    expect(counts).toEqual({ prepared: 1, submitted: 1, succeeded: 1, 'rolled-back': 1, failed: 1, cancelled: 1 });
    expect(oldestPreparedMs).toBeGreaterThan(0);
    expect((await store.nextDueInMs(['default', '~db/typeorm/default'])).size).toBe(2);

    const change = { instance: undefined, queue: undefined, dueInMs: 0, held: false, error: undefined };
    expect(
      await store.change([
        { ...change, gid: 'failed', from: ['failed'], to: 'submitted' },
        { ...change, gid: 'prepared', instance: 'i', from: ['prepared'], to: 'submitted', queue: 'default' },
      ]),
    ).toEqual([
      { changed: true, lease: 8 },
      { changed: true, lease: 8 },
    ]);
    expect(
      await store.create([aJob({ gid: 'rolled-back', instance: 'another' }), aJob({ gid: 'succeeded', instance: 'another' })]),
    ).toEqual([
      { outcome: 'stored', lease: 8 },
      { outcome: 'duplicate', status: 'succeeded' },
    ]);
    const claimed = await store.claimDue({ queue: 'default', limit: 9, leaseMs: 60_000 });
    expect(claimed.map(({ gid, lease, step, attempt, wasHeld }) => [gid, lease, step, attempt, wasHeld]).sort()).toEqual([
      ['failed', 9, 1, 1, false],
      ['prepared', 9, 1, 1, false],
      ['rolled-back', 9, 0, 1, false],
      ['submitted', 8, 1, 3, true],
    ]);
    const end = { step: 2, attempt: 1, status: 'succeeded', giveUp: true, dueInMs: undefined, queue: undefined, error: undefined } as const;
    const sorted = [...claimed].sort((a, b) => (a.gid < b.gid ? -1 : 1));
    expect((await store.save(sorted.map(({ gid, lease }) => ({ gid, lease, ...end })))).size).toBe(4);

    const purging = await store.startPurge({ finishedMsAgo: 3_600_000, failedMsAgo: 3_600_000, limit: 9 });
    expect(purging.map(({ gid, lease }) => [gid, lease]).sort()).toEqual([
      ['cancelled', 8],
      ['purging', 8],
      ['succeeded', 8],
    ]);
    expect(await store.finishPurge([...purging].sort((a, b) => (a.gid < b.gid ? -1 : 1)))).toBe(3);
    expect((await store.list({ limit: 9 })).map(({ gid, status }) => [gid, status])).toEqual(
      ['failed', 'prepared', 'rolled-back', 'submitted'].map((gid) => [gid, 'succeeded']),
    );
    await store.stop();
  });

  it('upgrades schema 1 with jobs in it, which then end and are purged with all their barriers', async () => {
    await makeSchema1();
    const [now, old] = TIMES[dialect];
    const insert = (gid: string, status: number, dueAt: string, finishedAt: string) =>
      dataSource.query(
        `insert into stepping_job (gid, lease, due_at, created_at, finished_at, step, attempt, status, held, instance, queue, db, steps)
         values ('${gid}', 7, ${dueAt}, ${now}, ${finishedAt}, 0, 1, ${status}, 0, 'i', 'default', '{"provider":"typeorm","name":"default"}', '{"v":1,"steps":[{"n":"first"}]}')`,
      );
    await insert('due', 1, now, 'null');
    await insert('ended', 2, 'null', old);

    const store = openStore({ dataSource });
    await store.start();
    expect(await dump(dataSource)).toBe(shipped());
    const [job] = await store.claimDue({ queue: 'default', limit: 9, leaseMs: 60_000 });
    expect(job).toMatchObject({ gid: 'due', lease: 8 });
    const db = { provider: 'typeorm', name: 'default' };
    const stock = { provider: 'typeorm', name: 'stock', tenant: 'acme' };
    const end = { gid: 'due', lease: 8, step: 1, attempt: 1, giveUp: true, dueInMs: undefined, queue: undefined, error: undefined };
    expect(await store.save([{ ...end, status: 'succeeded', barrierDbs: [stock] }])).toEqual(new Set(['due']));
    const purge = (finishedMsAgo: number) => store.startPurge({ finishedMsAgo, failedMsAgo: 9e9, limit: 9 });
    expect(await purge(3_600_000)).toEqual([{ gid: 'ended', lease: 8, db, barrierDbs: [] }]);
    expect(await purge(0)).toEqual([{ gid: 'due', lease: 10, db, barrierDbs: [stock] }]);
    await store.stop();
  });

  it('is migrated once by four processes that start at the same time', async () => {
    const script = join(import.meta.dirname, 'start-store.ts');
    const start = () => promisify(execFile)(process.execPath, [...nodeArgsFor(script), JSON.stringify(dataSource.options)]);
    await Promise.all([start(), start(), start(), start()]);
    expect(await dump(dataSource)).toBe(shipped());
    expect(await dataSource.query('select version from stepping_migration')).toEqual([{ version: 1 }, { version: 2 }]);
  }, 60_000);
}
