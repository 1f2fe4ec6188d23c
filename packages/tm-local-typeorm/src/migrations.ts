import { type Dialect, type Migration, type Migrations, type QuotedName, toTypeormMigrations } from '@stepping/typeorm';
import type { MigrationInterface } from 'typeorm';

/** Longest name of a queue on MySQL, where it is in an index. */
export const MAX_MYSQL_QUEUE = 400;

/** Default of `tablePrefix`. */
export const TABLE_PREFIX = 'stepping_';

/** Where the store's tables are; the same as in `typeormStore()`. */
export interface StoreSchemaOptions {
  /** PostgreSQL: created if it is not there. MariaDB and MySQL: another database of the server, which must be there. Default: the schema or database of the DataSource. */
  readonly schema?: string | undefined;
  /** Default `stepping_`. */
  readonly tablePrefix?: string | undefined;
}

/**
 * The store's schema as TypeORM migrations, for those who apply all schema changes themselves: add them to the `migrations` of the DataSource and use `typeormStore({ …, migrate: false })`.
 *
 * @example new DataSource({ …, migrations: [...yours, ...steppingStoreMigrations()] })
 */
export function steppingStoreMigrations(options: StoreSchemaOptions = {}): (new () => MigrationInterface)[] {
  return toTypeormMigrations(storeMigrations(options));
}

export function storeMigrations({ schema, tablePrefix = TABLE_PREFIX }: StoreSchemaOptions): Migrations {
  return {
    owner: 'store',
    recordTable: `${tablePrefix}migration`,
    schema,
    list: [createJobTable(tablePrefix), addBarrierDbs(tablePrefix)],
  };
}

const createJobTable = (prefix: string): Migration => ({
  version: 1,
  name: 'CreateJobTable',
  statements: (to) => {
    const job = to.table(`${prefix}job`);
    const index = (name: string) => to.quote(`${prefix}job_${name}`);
    if (to.dialect === 'mysql') return [createMysqlJob(job, index('due'))];
    return [
      CREATE_JOB[to.dialect](job),
      // The only index on the path of every job. Finished rows have no due_at, so they are not in it.
      `create index ${index('due')} on ${job} (queue, due_at) where due_at is not null`,
      // For operators; both are empty as long as all goes well.
      `create index ${index('failed')} on ${job} (gid) where status = 4`,
      `create index ${index('prepared')} on ${job} (created_at) where status = 0`,
    ];
  },
});

/** Databases in which steps have left barriers (see `Save.barrierDbs`), as a JSON array of texts, in the words of every dialect; null, as nearly always, takes no room. */
const addBarrierDbs = (prefix: string): Migration => ({
  version: 2,
  name: 'AddBarrierDbs',
  statements: ({ table }) => [`alter table ${table(`${prefix}job`)} add column barrier_dbs text`],
});

/** Columns of eight bytes first, then four, then two: PostgreSQL pads nothing. `collate "C"`: compared byte by byte, which is also quicker. */
const CREATE_JOB: Record<Exclude<Dialect, 'mysql'>, (job: QuotedName) => string> = {
  postgres: (job) => `create table ${job} (
  gid text collate "C" primary key,
  lease bigint not null,
  due_at timestamptz,
  created_at timestamptz not null,
  finished_at timestamptz,
  step integer not null,
  attempt integer not null,
  status smallint not null,
  held smallint not null,
  instance text collate "C" not null,
  queue text collate "C" not null,
  tenant text,
  db text,
  last_error text,
  steps text not null
) with (fillfactor = 50)`, // half of each page free: a checkpoint writes its new version beside the old one (HOT) and touches no index
  sqlite: (job) => `create table ${job} (
  id integer primary key,
  gid text not null unique,
  lease integer not null,
  due_at integer,
  created_at integer not null,
  finished_at integer,
  step integer not null,
  attempt integer not null,
  status integer not null,
  held integer not null,
  instance text not null,
  queue text not null,
  tenant text,
  db text,
  last_error text,
  steps text not null
) strict`,
};

/**
 * There are no partial indexes on MySQL, so operators have none: each would cost every job a write. Finished rows are in `job_due` with null, before all that are due: no claim
 * reads them. Texts are compared byte by byte.
 */
const createMysqlJob = (job: QuotedName, due: QuotedName) => `create table ${job} (
  gid varchar(128) character set ascii collate ascii_bin not null primary key,
  lease bigint not null,
  due_at datetime(6),
  created_at datetime(6) not null,
  finished_at datetime(6),
  step integer not null,
  attempt integer not null,
  status tinyint not null,
  held tinyint not null,
  instance varchar(128) not null,
  queue varchar(${MAX_MYSQL_QUEUE}) not null,
  tenant text,
  db text,
  last_error longtext,
  steps longtext not null,
  key ${due} (queue, due_at)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin`;
