import pg from 'pg';
import { parentOf } from '../server-cpu.js';
import type { Databases } from './databases.js';
import type { TestServer } from './test-services.js';

/** PostgreSQL 18 moved the counter. */
const FSYNCS = (version: number) =>
  version >= 18 ? `(select sum(fsyncs) from pg_stat_io where object = 'wal')` : '(select wal_sync from pg_stat_wal)';

export async function postgresDatabases(server: TestServer): Promise<Databases> {
  const probe = await server.createDatabase('probe');
  const { version, fsync, sync } = await oneRow(
    probe,
    `select current_setting('server_version') as version, current_setting('fsync') as fsync, current_setting('synchronous_commit') as sync`,
  );
  const serverPid = await postmasterOf(probe);
  await server.dropAll();
  return {
    described: `PostgreSQL ${version}, fsync ${fsync}, synchronous_commit ${sync}`,
    serverPid,
    open: (label) => server.createDatabase(label),
    async createOrders(database) {
      await execute(
        database,
        'create table bench_order (id bigint generated always as identity primary key, customer text not null, amount int not null, created_at timestamptz not null default now())',
      );
    },
    async relax(database) {
      await execute(database, `alter database ${nameOf(database)} set synchronous_commit = off`);
    },
    async settle(database) {
      await execute(database, `alter database ${nameOf(database)} reset synchronous_commit`);
      await execute(database, 'vacuum analyze');
      await execute(database, 'checkpoint');
    },
    async totals(database) {
      const row = await oneRow(
        database,
        `select (select xact_commit from pg_stat_database where datname = current_database())::float8 as commits, ${FSYNCS(Number.parseInt(version, 10))}::float8 as fsyncs,
          pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::float8 as "walBytes"`,
      );
      return row as { commits: number; fsyncs: number; walBytes: number };
    },
    dropAll: () => server.dropAll(),
    stop: async () => {},
  };
}

function nameOf(database: string): string {
  return `"${new URL(database).pathname.slice(1)}"`;
}

async function postmasterOf(connectionString: string): Promise<number | undefined> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  const { rows } = await client.query('select pg_backend_pid() as pid');
  const postmaster = parentOf(rows[0].pid); // while the backend lives
  await client.end();
  return postmaster;
}

async function execute(connectionString: string, text: string): Promise<pg.QueryResult> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    return await client.query(text);
  } finally {
    await client.end();
  }
}

async function oneRow(connectionString: string, text: string): Promise<any> {
  return (await execute(connectionString, text)).rows[0];
}
