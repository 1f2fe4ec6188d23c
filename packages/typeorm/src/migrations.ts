import { SteppingError } from '@stepping/core';
import type { DataSource } from 'typeorm';
import { type Dialect, dialectOf } from './dialect.js';
import { migrateMysql, mysqlVersion } from './migrate-mysql.js';
import { migratePostgres, postgresVersion } from './migrate-postgres.js';
import { migrateSqlite, sqliteVersion } from './migrate-sqlite.js';
import { type QuotedName, qualified, quoteName } from './quoted-name.js';
import { schemaOf } from './schema-of.js';

/** One step of a schema. Shipped ones are never changed, only followed by others. */
export interface Migration {
  /** From 1, without gaps. */
  readonly version: number;
  /** In PascalCase: part of the name of the TypeORM migration. */
  readonly name: string;
  /** Its statements. On MySQL each of them is committed by itself: one change of the schema a statement. */
  statements(to: Place): readonly string[];
}

/** All migrations of one package, and where it is remembered which of them were applied. */
export interface Migrations {
  /** Whose they are, in the table of records: `'store'`, `'barrier'`. */
  readonly owner: string;
  /** Of the table of records. */
  readonly recordTable: string;
  /** PostgreSQL: created if it is not there. MySQL: another database of the server, which must be there. Default: that of the DataSource. */
  readonly schema?: string | undefined;
  readonly list: readonly Migration[];
}

/** Where the tables are. */
export interface Place {
  readonly dialect: Dialect;
  readonly schema: string | undefined;
  /** Quotes a name of ours and puts the schema before it. */
  table(name: string): QuotedName;
  /** Quotes a name of ours: a column, an index. */
  quote(name: string): QuotedName;
}

/** How each database applies migrations, and tells how far it got (0: not at all). */
const DATABASES: Record<
  Dialect,
  {
    readonly migrate: (dataSource: DataSource, place: Place, migrations: Migrations) => Promise<void>;
    readonly version: (dataSource: DataSource, place: Place, migrations: Migrations) => Promise<number>;
  }
> = {
  postgres: { migrate: migratePostgres, version: postgresVersion },
  mysql: { migrate: migrateMysql, version: mysqlVersion },
  sqlite: { migrate: migrateSqlite, version: sqliteVersion },
};

/**
 * Applies what is missing, under a lock, so that any number of processes may do it at once. Needs no right to change the schema when nothing is missing. `dataSource` is
 * one of ours: never a connection that may have a transaction of the user.
 *
 * @throws {@link SteppingError} `STORE_REFUSED` if the schema is newer than this release.
 */
export async function runMigrations(dataSource: DataSource, migrations: Migrations): Promise<void> {
  const place = at(dataSource, migrations);
  const { version, migrate } = DATABASES[place.dialect];
  if (missing(migrations, await version(dataSource, place, migrations)).length > 0) await migrate(dataSource, place, migrations);
}

/**
 * Only looks.
 *
 * @throws {@link SteppingError} `STORE_REFUSED` if the schema is older or newer than this release.
 */
export async function checkMigrations(dataSource: DataSource, migrations: Migrations): Promise<void> {
  const place = at(dataSource, migrations);
  const version = await DATABASES[place.dialect].version(dataSource, place, migrations);
  if (missing(migrations, version).length === 0) return;
  throw new SteppingError(
    'STORE_REFUSED',
    `The schema of the ${migrations.owner} is at version ${version}, and this release needs ${latest(migrations)}. Run stepping.migrate(), or its TypeORM migrations, first.`,
    { owner: migrations.owner, version, needed: latest(migrations) },
  );
}

/** Where the tables of a DataSource are. */
export function at(dataSource: DataSource, { schema }: Migrations): Place {
  const dialect = dialectOf(dataSource);
  const where = dialect === 'sqlite' ? undefined : (schema ?? schemaOf(dataSource));
  return { dialect, schema: where, table: (name) => qualified(dialect, where, name), quote: (name) => quoteName(dialect, name) };
}

/** Those that follow a version. */
export function missing(migrations: Migrations, version: number): readonly Migration[] {
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
