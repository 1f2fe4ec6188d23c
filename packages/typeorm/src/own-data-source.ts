import type { EventEmitter } from 'node:events';
import { DataSource, type DataSourceOptions } from 'typeorm';
import type { SqliteConnection } from './connection.js';
import { type Dialect, dialectOf } from './dialect.js';
import { rememberOrigin } from './origin.js';
import { schemaOf } from './schema-of.js';
import { fileOf } from './sqlite-file.js';

/** How a DataSource of our own differs from the user's. */
export interface OwnDataSourceOptions {
  /** Largest number of connections (SQLite has one). */
  readonly poolSize: number;
  /** For connecting and, on PostgreSQL, for waiting until one of the pool is free. Default 5 000. Unit: ms. */
  readonly connectTimeoutMs?: number;
  /** PostgreSQL. Longest wait for the answer to a statement; the connection is given up then. Default: none. Unit: ms. */
  readonly queryTimeoutMs?: number;
  /** Further settings of the driver's pool, such as `keepAlive`. */
  readonly extra?: Readonly<Record<string, unknown>>;
}

/** Unit: ms. */
const CONNECT_TIMEOUT_MS = 5_000;

/**
 * A DataSource of our own to the user's database, with their connection options and nothing else of theirs: no entities, subscribers, migrations, logging.
 * So we neither starve their pool nor leave settings on its connections, and a server that closes an idle connection ends nothing. With read replicas it
 * connects to the primary only. Call `initialize()` on it, and `destroy()` at the end.
 */
export function ownDataSource(dataSource: DataSource, options: OwnDataSourceOptions): DataSource {
  const own = new DataSource(OPTIONS[dialectOf(dataSource)](dataSource, options));
  rememberOrigin(own, dataSource);
  return own;
}

const OPTIONS: Record<Dialect, (dataSource: DataSource, own: OwnDataSourceOptions) => DataSourceOptions> = {
  postgres: postgresOptions,
  mysql: mysqlOptions,
  sqlite: sqliteOptions,
};

/** Nothing but a connection. */
const BARE = {
  entities: [] as string[],
  subscribers: [] as string[],
  migrations: [] as string[],
  synchronize: false,
  migrationsRun: false,
  dropSchema: false,
  cache: false,
  logging: false,
};

function postgresOptions(dataSource: DataSource, own: OwnDataSourceOptions): DataSourceOptions {
  const { replication, ...options } = dataSource.options as Extract<DataSourceOptions, { type: 'postgres' }>;
  const primary = replication === undefined ? options : { ...withoutCredentials(options), ...replication.master };
  const schema = schemaOf(dataSource);
  const { isolationLevel: _theirs, logger: _logger, maxQueryExecutionTime: _slow, logNotifications: _notifications, ...kept } = primary;
  return {
    ...kept,
    ...BARE,
    ...(schema === undefined ? {} : { schema }),
    installExtensions: false,
    // An idle connection that the server closed: the pool opens another one when it is needed.
    poolErrorHandler: () => {},
    extra: {
      ...(options.extra as object | undefined),
      max: own.poolSize,
      min: 0,
      connectionTimeoutMillis: own.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
      keepAlive: true,
      query_timeout: own.queryTimeoutMs,
      Client: clientThatEndsNothing(dataSource),
      ...own.extra,
    },
  };
}

/**
 * A client of `pg` whose errors always have a listener. The pool takes its own away when it hands a client out, and TypeORM adds one a moment later: a server that ends the
 * connection in between would end the process.
 */
function clientThatEndsNothing(dataSource: DataSource): unknown {
  const { Client } = (dataSource.driver as unknown as { postgres: { Client: new (...args: any[]) => EventEmitter } }).postgres;
  return class extends Client {
    constructor(...args: any[]) {
      super(...args);
      this.on('error', () => {});
    }
  };
}

function mysqlOptions(dataSource: DataSource, own: OwnDataSourceOptions): DataSourceOptions {
  const { replication, ...options } = dataSource.options as Extract<DataSourceOptions, { type: 'mysql' | 'mariadb' }>;
  const primary = replication === undefined ? options : { ...withoutCredentials(options), ...replication.master };
  const { isolationLevel: _theirs, logger: _logger, maxQueryExecutionTime: _slow, acquireTimeout: _unknownToMysql2, ...kept } = primary;
  const database = schemaOf(dataSource);
  const extra = options.extra as { readonly flags?: readonly string[] } | undefined;
  const flags = extra?.flags ?? options.flags ?? [];
  return {
    ...kept,
    ...BARE,
    ...(database === undefined ? {} : { database }),
    // Read last by TypeORM, so that nothing of theirs changes what we send or get.
    extra: {
      ...extra,
      connectionLimit: own.poolSize,
      maxIdle: own.poolSize,
      waitForConnections: true,
      queueLimit: 0,
      connectTimeout: own.connectTimeoutMs ?? CONNECT_TIMEOUT_MS,
      enableKeepAlive: true,
      charset: 'utf8mb4',
      flags: [...flags.filter((flag) => !/FOUND_ROWS/i.test(flag)), 'FOUND_ROWS'],
      // On connections of our own alone, where every text is ours.
      multipleStatements: true,
      namedPlaceholders: false,
      typeCast: true,
      rowsAsArray: false,
      dateStrings: true,
      supportBigNumbers: true,
      bigNumberStrings: true,
      ...own.extra,
    },
  };
}

/** With replication, TypeORM takes all of them from the entry of the primary. */
function withoutCredentials<T extends object>(options: T) {
  const {
    url: _1,
    host: _2,
    port: _3,
    username: _4,
    password: _5,
    database: _6,
    ssl: _7,
    applicationName: _8,
    ...rest
  } = options as T & Record<'url' | 'host' | 'port' | 'username' | 'password' | 'database' | 'ssl' | 'applicationName', unknown>;
  return rest as unknown as T;
}

function sqliteOptions(dataSource: DataSource): DataSourceOptions {
  const { isolationLevel: _theirs, logger: _logger, maxQueryExecutionTime: _slow, ...kept } = sqliteWriterOptions(dataSource);
  return { ...kept, ...BARE };
}

/** The user's options for a connection that writes what must not be lost, and that never blocks the event loop. */
export function sqliteWriterOptions(dataSource: DataSource): Extract<DataSourceOptions, { type: 'better-sqlite3' }> {
  const options = dataSource.options as Extract<DataSourceOptions, { type: 'better-sqlite3' }>;
  return {
    ...options,
    // The working directory may change; the file stays. URIs carry parameters of the user's.
    database: options.database.trim().startsWith('file:') ? options.database : fileOf(dataSource),
    enableWAL: false, // kept in the file: the user's own connection has set it
    prepareDatabase: async (connection: SqliteConnection) => {
      await options.prepareDatabase?.(connection);
      // better-sqlite3 is built with NORMAL under WAL: a power failure could take back a commit that was acknowledged and acted upon.
      connection.pragma('synchronous = FULL');
      connection.pragma('busy_timeout = 0');
    },
  };
}
