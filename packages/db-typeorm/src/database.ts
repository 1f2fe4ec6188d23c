import { SteppingError } from '@stepping/core';
import type { BarrierDatabase, Barriers, LedgerTable } from '@stepping/core/db';
import { type Dialect, dialectOf, isInMemory, runMigrations } from '@stepping/typeorm';
import type { DataSource } from 'typeorm';
import { barrierMigrations } from './migrations.js';
import { MysqlBarriers } from './mysql-barriers.js';
import { MysqlLedger } from './mysql-ledger.js';
import { OwnConnections } from './own-connections.js';
import { PostgresBarriers } from './postgres-barriers.js';
import { PostgresLedger } from './postgres-ledger.js';
import { QUERY_TIMEOUT_MS } from './send.js';
import { QUESTIONS_AT_A_TIME } from './server-barriers.js';
import { SqliteBarriers } from './sqlite-barriers.js';
import { SqliteFile } from './sqlite-file.js';
import { SqliteLedger } from './sqlite-ledger.js';
import { barrierTableOf, ledgerTableOf } from './tables.js';

/** What is ours in a database of the user's, over connections of our own. */
export interface Database extends BarrierDatabase {
  close(): Promise<void>;
}

/** Beside the questions, which wait for others, there is always one for what waits for nobody: the look for a barrier, the ledger. Opened when they are needed. */
const POOL_SIZE = QUESTIONS_AT_A_TIME + 3;

export function databaseOf(users: DataSource): Database {
  return DATABASES[dialectOf(users)](users);
}

const DATABASES: Record<Dialect, (users: DataSource) => Database> = {
  postgres: (users) => {
    const own = serverConnections(users);
    return withConnections(own, new PostgresBarriers(own), new PostgresLedger(own));
  },
  mysql: (users) => {
    const own = serverConnections(users);
    return withConnections(own, new MysqlBarriers(own), new MysqlLedger(own));
  },
  sqlite: (users) => {
    const file = new SqliteFile(inFile(users));
    return withConnections(file.own, new SqliteBarriers(file, barrierTableOf(users)), new SqliteLedger(file, ledgerTableOf(users)));
  },
};

function serverConnections(users: DataSource): OwnConnections {
  return new OwnConnections(users, { poolSize: POOL_SIZE, queryTimeoutMs: QUERY_TIMEOUT_MS });
}

function withConnections(own: OwnConnections, barriers: Barriers, ledger: LedgerTable): Database {
  return { barriers, ledger, migrate: async () => runMigrations(await own.get(), barrierMigrations), close: () => own.close() };
}

function inFile(dataSource: DataSource): DataSource {
  if (!isInMemory(dataSource)) return dataSource;
  throw new SteppingError(
    'CONFIG_INVALID',
    'A SQLite database in memory has one connection, so no second one could ask what became of a transaction. Give the DataSource a file.',
  );
}
