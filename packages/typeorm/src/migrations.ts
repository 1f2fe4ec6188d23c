import { SteppingError } from '@stepping/core';
import type { DataSource } from 'typeorm';
import { type PostgresConnection, sqliteConnectionOf, withPostgresConnection } from './connection.js';
import { type Dialect, dialectOf } from './dialect.js';
import { type QuotedName, qualified, quoteName } from './quoted-name.js';
import { schemaOf } from './schema-of.js';
import { fileTurns } from './sqlite-file.js';
import { untilNotBusy } from './until-not-busy.js';

/** One step of a schema. Shipped ones are never changed, only followed by others. */
export interface Migration {
  /** From 1, without gaps. */
  readonly version: number;
  /** In PascalCase: part of the name of the TypeORM migration. */
  readonly name: string;
  /** Its statements; `table` quotes a name of ours and puts the schema before it. */
  statements(to: { readonly dialect: Dialect; table(name: string): QuotedName }): readonly string[];
}

/** All migrations of one package, and where it is remembered which of them were applied. */
export interface Migrations {
  /** Whose they are, in the table of records: `'store'`, `'barrier'`. */
  readonly owner: string;
  /** Of the table of records. */
  readonly recordTable: string;
  /** PostgreSQL; created if it is not there. Default: that of the DataSource. */
  readonly schema?: string | undefined;
  readonly list: readonly Migration[];
}

/** Others may hold the lock of the file for a long transaction. Unit: ms. */
const SQLITE_LOCK_TIMEOUT_MS = 30_000;

/**
 * Applies what is missing, in one transaction under a lock, so that any number of processes may do it at once. Needs no right to change the schema when nothing is
 * missing. `dataSource` is one of ours: never a connection that may have a transaction of the user.
 *
 * @throws {@link SteppingError} `STORE_REFUSED` if the schema is newer than this release.
 */
export async function runMigrations(dataSource: DataSource, migrations: Migrations): Promise<void> {
  if (dialectOf(dataSource) === 'sqlite') return migrateSqlite(dataSource, migrations);
  return migratePostgres(dataSource, migrations);
}

/**
 * Only looks.
 *
 * @throws {@link SteppingError} `STORE_REFUSED` if the schema is older or newer than this release.
 */
export async function checkMigrations(dataSource: DataSource, migrations: Migrations): Promise<void> {
  const version =
    dialectOf(dataSource) === 'sqlite'
      ? sqliteVersion(dataSource, migrations)
      : await withPostgresConnection(dataSource, (connection) => postgresVersion(connection, at(dataSource, migrations), migrations));
  if (missing(migrations, version).length === 0) return;
  throw new SteppingError(
    'STORE_REFUSED',
    `The schema of the ${migrations.owner} is at version ${version}, and this release needs ${latest(migrations)}. Run stepping.migrate(), or its TypeORM migrations, first.`,
    { owner: migrations.owner, version, needed: latest(migrations) },
  );
}

// ── shared with the TypeORM migrations ──────────────────────────────────────────────────────────────────────────────

/** Where the tables are. */
export interface Place {
  readonly dialect: Dialect;
  readonly schema: string | undefined;
  table(name: string): QuotedName;
}

export function at(dataSource: DataSource, { schema }: Migrations): Place {
  const dialect = dialectOf(dataSource);
  const where = dialect === 'sqlite' ? undefined : (schema ?? schemaOf(dataSource));
  return { dialect, schema: where, table: (name) => qualified(where, name) };
}

export function createRecordTable(place: Place, { recordTable }: Migrations): string {
  const now =
    place.dialect === 'sqlite' ? "text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))" : 'timestamptz not null default now()';
  return `create table if not exists ${place.table(recordTable)} (owner text not null, version integer not null, name text not null, applied_at ${now}, primary key (owner, version))`;
}

/** Values: owner, version, name. */
export function insertRecord(place: Place, { recordTable }: Migrations): string {
  const values = place.dialect === 'sqlite' ? '?, ?, ?' : '$1, $2, $3';
  return `insert into ${place.table(recordTable)} (owner, version, name) values (${values}) on conflict do nothing`;
}

/** Values: owner, version. */
export function selectRecord(place: Place, { recordTable }: Migrations): string {
  const [owner, version] = place.dialect === 'sqlite' ? ['?', '?'] : ['$1', '$2'];
  return `select 1 from ${place.table(recordTable)} where owner = ${owner} and version = ${version}`;
}

// ── PostgreSQL ──────────────────────────────────────────────────────────────────────────────────────────────────────

async function migratePostgres(dataSource: DataSource, migrations: Migrations): Promise<void> {
  const place = at(dataSource, migrations);
  await withPostgresConnection(dataSource, async (connection) => {
    if (missing(migrations, await postgresVersion(connection, place, migrations)).length === 0) return;
    await connection.query('begin');
    await connection.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`stepping:${place.table(migrations.recordTable)}`]);
    await createSchema(connection, place);
    await connection.query(createRecordTable(place, migrations));
    for (const migration of missing(migrations, await postgresVersion(connection, place, migrations))) {
      for (const statement of migration.statements(place)) await connection.query(statement);
      await connection.query(insertRecord(place, migrations), [migrations.owner, migration.version, migration.name]);
    }
    await connection.query('commit');
  });
}

async function createSchema(connection: PostgresConnection, { schema }: Place): Promise<void> {
  if (schema === undefined) return;
  // "create schema if not exists" wants the right to create one even where it exists.
  const { rows } = await connection.query('select 1 from pg_namespace where nspname = $1', [schema]);
  if (rows.length === 0) await connection.query(`create schema if not exists ${quoteName(schema)}`);
}

async function postgresVersion(connection: PostgresConnection, place: Place, { owner, recordTable }: Migrations): Promise<number> {
  const table = place.table(recordTable);
  const { rows: found } = await connection.query('select to_regclass($1) is not null as there', [table]);
  if (!found[0].there) return 0;
  const { rows } = await connection.query(`select coalesce(max(version), 0)::int as version from ${table} where owner = $1`, [owner]);
  return rows[0].version;
}

// ── SQLite ──────────────────────────────────────────────────────────────────────────────────────────────────────────

async function migrateSqlite(dataSource: DataSource, migrations: Migrations): Promise<void> {
  if (missing(migrations, sqliteVersion(dataSource, migrations)).length === 0) return;
  const connection = sqliteConnectionOf(dataSource);
  const place = at(dataSource, migrations);
  // Without an await in between: another connection of this process would block the event loop that lets go of the lock.
  const inOneGo = () => {
    connection.exec('begin immediate');
    try {
      connection.exec(createRecordTable(place, migrations));
      for (const migration of missing(migrations, sqliteVersion(dataSource, migrations))) {
        for (const statement of migration.statements(place)) connection.exec(statement);
        connection.prepare(insertRecord(place, migrations)).run(migrations.owner, migration.version, migration.name);
      }
      connection.exec('commit');
    } finally {
      if (connection.inTransaction) connection.exec('rollback');
    }
  };
  await fileTurns(dataSource).run(() => untilNotBusy(inOneGo, SQLITE_LOCK_TIMEOUT_MS));
}

function sqliteVersion(dataSource: DataSource, { owner, recordTable }: Migrations): number {
  const connection = sqliteConnectionOf(dataSource);
  const there = connection.prepare("select 1 from sqlite_master where type = 'table' and name = ?").get(recordTable);
  if (there === undefined) return 0;
  return connection.prepare(`select coalesce(max(version), 0) as version from ${quoteName(recordTable)} where owner = ?`).get(owner)
    .version;
}

// ── versions ────────────────────────────────────────────────────────────────────────────────────────────────────────

function missing(migrations: Migrations, version: number): readonly Migration[] {
  if (version <= latest(migrations)) return migrations.list.filter((migration) => migration.version > version);
  throw new SteppingError(
    'STORE_REFUSED',
    `The schema of the ${migrations.owner} is at version ${version}, and this release knows ${latest(migrations)} only: a newer release has migrated it. Update this one.`,
    { owner: migrations.owner, version, known: latest(migrations) },
  );
}

function latest({ list }: Migrations): number {
  return list.at(-1)?.version ?? 0;
}
