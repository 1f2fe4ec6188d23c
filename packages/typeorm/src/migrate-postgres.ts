import type { DataSource } from 'typeorm';
import { type PostgresConnection, withPostgresConnection } from './connection.js';
import { createRecordTable, insertRecord, selectVersion } from './migration-records.js';
import { type Migrations, missing, type Place } from './migrations.js';

/** All of it in one transaction. */
export async function migratePostgres(dataSource: DataSource, place: Place, migrations: Migrations): Promise<void> {
  await withPostgresConnection(dataSource, async (connection) => {
    await connection.query('begin');
    await connection.query('select pg_advisory_xact_lock(hashtextextended($1, 0))', [`stepping:${place.table(migrations.recordTable)}`]);
    await createSchema(connection, place);
    await connection.query(createRecordTable(place, migrations));
    for (const migration of missing(migrations, await versionOn(connection, place, migrations))) {
      for (const statement of migration.statements(place)) await connection.query(statement);
      await connection.query(insertRecord(place, migrations), [migrations.owner, migration.version, migration.name]);
    }
    await connection.query('commit');
  });
}

export function postgresVersion(dataSource: DataSource, place: Place, migrations: Migrations): Promise<number> {
  return withPostgresConnection(dataSource, (connection) => versionOn(connection, place, migrations));
}

async function versionOn(connection: PostgresConnection, place: Place, migrations: Migrations): Promise<number> {
  const { rows: found } = await connection.query('select to_regclass($1) is not null as there', [place.table(migrations.recordTable)]);
  if (!found[0].there) return 0;
  const { rows } = await connection.query(selectVersion(place, migrations), [migrations.owner]);
  return Number(rows[0].version);
}

async function createSchema(connection: PostgresConnection, { schema, quote }: Place): Promise<void> {
  if (schema === undefined) return;
  // "create schema if not exists" wants the right to create one even where it exists.
  const { rows } = await connection.query('select 1 from pg_namespace where nspname = $1', [schema]);
  if (rows.length === 0) await connection.query(`create schema if not exists ${quote(schema)}`);
}
