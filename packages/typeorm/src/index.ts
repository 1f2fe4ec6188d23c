export type { PostgresConnection, SqliteConnection, SqliteStatement } from './connection.js';
export { closeConnection, sqliteConnectionOf, withPostgresConnection } from './connection.js';
export {
  commitOutcome,
  driverErrorOf,
  isBusy,
  isDeadlock,
  isDefiniteRefusal,
  isLockTimeout,
  isUniqueViolation,
} from './database-error.js';
export type { Dialect } from './dialect.js';
export { dialectOf, SUPPORTED_TYPES } from './dialect.js';
export type { Migration, Migrations, Place } from './migrations.js';
export { checkMigrations, runMigrations } from './migrations.js';
export type { MysqlConnection, MysqlResult, MysqlSend, MysqlSettings } from './mysql-connection.js';
export { executeMysql, mysqlSettings, sendMysql, withMysqlConnection } from './mysql-connection.js';
export { assertInMysqlTransaction, mysqlTransactionOf } from './mysql-transaction.js';
export { originOf } from './origin.js';
export type { OwnDataSourceOptions } from './own-data-source.js';
export { ownDataSource } from './own-data-source.js';
export type { QuotedName } from './quoted-name.js';
export { qualified, quoteName } from './quoted-name.js';
export { schemaOf } from './schema-of.js';
export { fileOf, fileTurns, isInMemory } from './sqlite-file.js';
export type { CloneShare } from './transactional-clone.js';
export { transactionalClone } from './transactional-clone.js';
export { toTypeormMigrations } from './typeorm-migrations.js';
export { untilNotBusy } from './until-not-busy.js';
