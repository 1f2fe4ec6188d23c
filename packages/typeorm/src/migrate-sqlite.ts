import type { DataSource } from 'typeorm';
import { sqliteConnectionOf } from './connection.js';
import { createRecordTable, insertRecord, selectVersion } from './migration-records.js';
import { type Migrations, missing, type Place } from './migrations.js';
import { fileTurns } from './sqlite-file.js';
import { untilNotBusy } from './until-not-busy.js';

/** Others may hold the lock of the file for a long transaction. Unit: ms. */
const LOCK_TIMEOUT_MS = 30_000;

/** All of it in one transaction. */
export async function migrateSqlite(dataSource: DataSource, place: Place, migrations: Migrations): Promise<void> {
  const connection = sqliteConnectionOf(dataSource);
  // Without an await in between: another connection of this process would block the event loop that lets go of the lock.
  const inOneGo = () => {
    connection.exec('begin immediate');
    try {
      connection.exec(createRecordTable(place, migrations));
      for (const migration of missing(migrations, versionIn(dataSource, place, migrations))) {
        for (const statement of migration.statements(place)) connection.exec(statement);
        connection.prepare(insertRecord(place, migrations)).run(migrations.owner, migration.version, migration.name);
      }
      connection.exec('commit');
    } finally {
      if (connection.inTransaction) connection.exec('rollback');
    }
  };
  await fileTurns(dataSource).run(() => untilNotBusy(inOneGo, LOCK_TIMEOUT_MS));
}

export async function sqliteVersion(dataSource: DataSource, place: Place, migrations: Migrations): Promise<number> {
  return versionIn(dataSource, place, migrations);
}

function versionIn(dataSource: DataSource, place: Place, migrations: Migrations): number {
  const connection = sqliteConnectionOf(dataSource);
  const there = connection.prepare("select 1 from sqlite_master where type = 'table' and name = ?").get(migrations.recordTable);
  if (there === undefined) return 0;
  return connection.prepare(selectVersion(place, migrations)).get(migrations.owner).version;
}
