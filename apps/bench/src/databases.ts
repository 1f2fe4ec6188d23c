import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import pg from 'pg';
import type { DatabaseKind } from './contestants.js';

/** Where the measurements of one kind of database are made. */
export interface Databases {
  /** Version and durability settings, for the table. */
  readonly described: string;
  /** An empty database: a URL, or the path of a file. */
  open(name: string): Promise<string>;
  /** After the backlog is in: what a database that has been running for a while has done already. */
  settle(database: string): Promise<void>;
  drop(name: string): Promise<void>;
  stop(): Promise<void>;
}

interface PostgresServer {
  createDatabase(name: string): Promise<string>;
  dropDatabase(name: string): Promise<void>;
  stop(): Promise<void>;
}

/** The server of the tests: of `STEPPING_TEST_POSTGRES_URL`, else started here and ended by `stop()`. */
async function postgresDatabases(): Promise<Databases> {
  const services = new URL('../../../test/services/postgres.mjs', import.meta.url).href;
  const { postgres } = await import(services);
  const url = process.env[postgres.url];
  const directory = mkdtempSync(join(tmpdir(), 'stepping-bench-'));
  const server: PostgresServer | undefined = url ? await postgres.connect(url) : await postgres.start(directory);
  if (server === undefined) throw new Error(`There is no PostgreSQL to start. ${postgres.hint}`);
  const probe = await server.createDatabase('bench_probe');
  const settings = await oneRow(
    probe,
    `select ${['server_version', 'fsync', 'synchronous_commit'].map((name) => `current_setting('${name}') as ${name}`)}`,
  );
  await server.dropDatabase('bench_probe');
  return {
    described: `PostgreSQL ${settings.server_version}, fsync ${settings.fsync}, synchronous_commit ${settings.synchronous_commit}`,
    async open(name) {
      await server.dropDatabase(name);
      return server.createDatabase(name);
    },
    async settle(database) {
      await oneRow(database, 'vacuum analyze');
      await oneRow(database, 'checkpoint');
    },
    drop: (name) => server.dropDatabase(name),
    async stop() {
      await server.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

async function sqliteDatabases(): Promise<Databases> {
  const directory = mkdtempSync(join(tmpdir(), 'stepping-bench-'));
  const version = new Database(':memory:').prepare<[], { v: string }>('select sqlite_version() as v').get()?.v;
  return {
    described: `SQLite ${version}, WAL, synchronous FULL`,
    async open(name) {
      rmSync(join(directory, name), { recursive: true, force: true });
      mkdirSync(join(directory, name));
      return join(directory, name, 'jobs.sqlite');
    },
    async settle() {},
    async drop(name) {
      rmSync(join(directory, name), { recursive: true, force: true });
    },
    async stop() {
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

export const DATABASES: Record<DatabaseKind, () => Promise<Databases>> = {
  PostgreSQL: postgresDatabases,
  SQLite: sqliteDatabases,
};

async function oneRow(connectionString: string, text: string): Promise<Record<string, string>> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  const { rows } = await client.query(text);
  await client.end();
  return rows[0];
}
