import { createHash } from 'node:crypto';
import { SteppingError } from '@stepping/core';
import type { DataSource } from 'typeorm';
import { driverErrorOf, isDefiniteRefusal } from './database-error.js';
import { createRecordTable, insertRecord, selectRecord, selectVersion } from './migration-records.js';
import { type Migration, type Migrations, missing, type Place } from './migrations.js';
import { type MysqlSend, withMysqlConnection } from './mysql-connection.js';

/** Another process may be in the middle of a long one. Unit: s. */
const LOCK_WAIT_S = 60;
/** A change of a large table takes its time. Unit: ms. */
const TIMEOUTS = { lockTimeoutMs: 60_000, timeoutMs: 600_000 };

/** What a statement is answered with that has been done already: there is such a table, column, index, or none such to drop. */
const DONE_ALREADY = new Set([1050, 1060, 1061, 1091]);

/** MySQL and MariaDB commit with every statement that changes the schema, so there is no transaction, but a lock of the server that ends with its connection. */
export async function migrateMysql(dataSource: DataSource, place: Place, migrations: Migrations): Promise<void> {
  const lock = `stepping:${createHash('sha256').update(place.table(migrations.recordTable)).digest('hex').slice(0, 40)}`;
  await withMysqlConnection(dataSource, TIMEOUTS, async (send) => {
    const { rows } = await send('select get_lock(?, ?) as got', [lock, LOCK_WAIT_S]);
    if (Number(rows[0].got) !== 1) {
      throw new SteppingError(
        'STORE_UNAVAILABLE',
        `Another process has been changing the schema of the ${migrations.owner} for ${LOCK_WAIT_S} s. Start again when it is done.`,
      );
    }
    try {
      await send(createRecordTable(place, migrations));
      for (const migration of missing(migrations, await versionOn(send, place, migrations))) {
        await applyOnMysql(async (sql, values) => (await send(sql, values)).rows, place, migrations, migration);
      }
    } finally {
      await send('select release_lock(?)', [lock]).catch(() => {}); // its connection is lost, and with it the lock
    }
  });
}

/**
 * Applies one migration, statement by statement. It writes down which one it begins, so that after a crash in the middle that one, and no other, may turn out to be done
 * already.
 */
export async function applyOnMysql(
  query: (sql: string, values: unknown[]) => Promise<any[]>,
  place: Place,
  migrations: Migrations,
  { version, name, statements }: Migration,
): Promise<void> {
  const records = place.table(migrations.recordTable);
  const progress = `${migrations.owner} begun`;
  const [begun] = await query(selectRecord(place, migrations), [progress, version]);
  const resumeAt = begun === undefined ? 0 : Number.parseInt(begun.name, 10);
  const write = (text: string) => query(`replace into ${records} (owner, version, name) values (?, ?, ?)`, [progress, version, text]);
  for (const [index, statement] of statements(place).entries()) {
    if (index < resumeAt) continue;
    const mayBeDone = begun !== undefined && begun.name === String(index);
    await write(String(index));
    try {
      await query(statement, []);
    } catch (error) {
      if (mayBeDone && isDoneAlready(error)) continue;
      // Nothing of it is there, so it must not be taken for done the next time.
      if (isDefiniteRefusal(error)) await write(`${index} refused`);
      throw error;
    }
  }
  await query(insertRecord(place, migrations), [migrations.owner, version, name]);
  await query(`delete from ${records} where owner = ? and version = ?`, [progress, version]);
}

export function mysqlVersion(dataSource: DataSource, place: Place, migrations: Migrations): Promise<number> {
  return withMysqlConnection(dataSource, TIMEOUTS, (send) => versionOn(send, place, migrations));
}

async function versionOn(send: MysqlSend, place: Place, migrations: Migrations): Promise<number> {
  const { rows: found } = await send('select 1 from information_schema.tables where table_schema = ? and table_name = ?', [
    place.schema,
    migrations.recordTable,
  ]);
  if (found.length === 0) return 0;
  const { rows } = await send(selectVersion(place, migrations), [migrations.owner]);
  return Number(rows[0].version);
}

function isDoneAlready(error: unknown): boolean {
  const { errno } = driverErrorOf(error) as { errno?: unknown };
  return typeof errno === 'number' && DONE_ALREADY.has(errno);
}
