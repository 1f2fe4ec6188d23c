import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { postgresDatabase, testService } from '@stepping/test-services';
import pg from 'pg';
import { DataSource, type QueryRunner } from 'typeorm';
import type { DatabaseKind } from './databases.js';
import { onTypeorm } from './typeorm-database.js';

/** What differs from one SQL database to the next. */
export interface SqlDatabase {
  /** A DataSource of one process, connected. */
  open(processName: string): Promise<DataSource>;
  /** The operating system closes all connections of a process. */
  cut(processName: string, dataSource: DataSource): Promise<void>;
  /** A statement of the harness itself; `?` are its values. */
  run(sql: string, values?: readonly unknown[]): Promise<any[]>;
  /** SQL of a time in a job's row. */
  readonly now: string;
  readonly longAgo: string;
  readonly hasConnections: boolean;
  /** What is given back can still commit the transaction, or end it as the server does when it notices. */
  breakConnection(runner: QueryRunner): { commit(): Promise<void>; end(): Promise<void> };
  close(): Promise<void>;
}

type OpenSql = (label: string) => Promise<SqlDatabase>;

const folder = mkdtempSync(join(tmpdir(), 'stepping-crash-points-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));

const openSqlite: OpenSql = async (label) => {
  const file = join(folder, `${label}.sqlite`);
  // No busy wait: it would block the event loop of him who has the lock.
  const connect = () => new DataSource({ type: 'better-sqlite3', database: file, enableWAL: true, timeout: 0 }).initialize();
  const own = await connect();
  const run: SqlDatabase['run'] = async (sql, values = []) => {
    for (const giveUpAt = performance.now() + 500; ; await new Promise((resolve) => setTimeout(resolve, 5))) {
      try {
        return await own.query(sql, [...values]);
      } catch (error) {
        if (!/^SQLITE_BUSY/.test((error as any).driverError?.code) || performance.now() > giveUpAt) throw error;
      }
    }
  };
  return {
    open: connect,
    async cut(_, dataSource) {
      const connection = (dataSource.driver as any).databaseConnection;
      if (connection.inTransaction) connection.exec('rollback');
    },
    run,
    now: "cast(unixepoch('subsec') * 1000 as integer)",
    longAgo: '0',
    hasConnections: false,
    breakConnection: (runner) => {
      const connection = (runner.dataSource.driver as any).databaseConnection;
      const end = async () => {
        if (connection.inTransaction) connection.exec('rollback');
        Object.assign(runner, { isTransactionActive: false, transactionDepth: 0 });
      };
      return { end, commit: end };
    },
    close: () => own.destroy(),
  };
};

// Between the listener of the pool and that of TypeORM a client has none: a backend that is ended in the very moment in which it has become ready would end
// this Node process, and all "processes" in it.
const connect = pg.Client.prototype.connect as (this: pg.Client, ...args: unknown[]) => unknown;
Object.assign(pg.Client.prototype, {
  connect(this: pg.Client, ...args: unknown[]) {
    this.on('error', () => {});
    return connect.apply(this, args);
  },
});

const openPostgres: OpenSql = async (label) => {
  const url = await postgresDatabase(label.replaceAll('-', '_'));
  const connect = (applicationName: string) =>
    new DataSource({ type: 'postgres', url, applicationName, poolSize: 4, poolErrorHandler: () => {} }).initialize();
  const own = await connect('harness');
  const run: SqlDatabase['run'] = (sql, values = []) => {
    let n = 0;
    return own.query(
      sql.replaceAll('?', () => `$${++n}`),
      [...values],
    );
  };
  return {
    open: connect,
    async cut(processName) {
      await run('select pg_terminate_backend(pid) from pg_stat_activity where application_name = ? and pid <> pg_backend_pid()', [
        processName,
      ]);
    },
    run,
    now: 'clock_timestamp()',
    longAgo: "timestamptz '2000-01-01'",
    hasConnections: true,
    breakConnection: (runner) => {
      // The runner believes that its connection is gone; the server does not know it yet.
      const internals = runner as any;
      const { databaseConnection: client, releaseCallback } = internals;
      Object.assign(internals, { isReleased: true, releaseCallback: undefined });
      const { connectedQueryRunners } = internals.driver;
      connectedQueryRunners.splice(connectedQueryRunners.indexOf(runner), 1);
      const end = async () => releaseCallback(new Error('The connection broke'));
      return { end, commit: () => client.query('COMMIT').finally(end) };
    },
    close: () => own.destroy(),
  };
};

const openMariadb: OpenSql = async (label) => {
  const url = await (await testService('mariadb')).database(label.replaceAll('-', '_'));
  const { hostname: host, port, pathname, username, password } = new URL(url);
  const connect = (credentials: { username: string; password: string }) =>
    new DataSource({ type: 'mariadb', host, port: Number(port), database: pathname.slice(1), poolSize: 4, ...credentials }).initialize();
  const own = await connect({ username, password });
  // Here an update also waits for rows that are not committed yet.
  const run: SqlDatabase['run'] = (sql, values = []) =>
    own.query(sql.startsWith('update') ? `set statement innodb_lock_wait_timeout = 1 for ${sql}` : sql, [...values]);
  return {
    // A user for each process: that is how the server tells whose a connection is.
    async open(processName) {
      await run(`create user if not exists '${processName}'@'%' identified by 'secret'`);
      await run(`grant all on *.* to '${processName}'@'%'`);
      return connect({ username: processName, password: 'secret' });
    },
    async cut(processName) {
      const connections = await run('select id from information_schema.processlist where user = ?', [processName]);
      for (const { id } of connections) await run(`kill ${id}`).catch(() => {}); // it has just ended
    },
    run,
    now: 'utc_timestamp(6)',
    longAgo: "'2000-01-01'",
    hasConnections: true,
    breakConnection: (runner) => {
      const { databaseConnection: connection } = runner as any;
      // Else it would go back into the pool, with the transaction open in it.
      Object.assign(runner, { isReleased: true, databaseConnection: undefined });
      const end = async () => connection.stream.destroy(new Error('The connection broke'));
      const commit = () =>
        new Promise<void>((resolve, reject) => connection.query('COMMIT', (error: unknown) => (error ? reject(error) : resolve())));
      return { end, commit: () => commit().finally(end) };
    },
    close: () => own.destroy(),
  };
};

export const sqlite: DatabaseKind = { isServer: false, repeats: false, open: async (label) => onTypeorm(await openSqlite(label)) };
export const postgres: DatabaseKind = { isServer: true, repeats: false, open: async (label) => onTypeorm(await openPostgres(label)) };
export const mariadb: DatabaseKind = { isServer: true, repeats: false, open: async (label) => onTypeorm(await openMariadb(label)) };
