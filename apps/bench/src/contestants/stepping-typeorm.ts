import type { JobBuilder, Stepping } from '@stepping/core';
import { inTransaction, typeormDb, typeormTransaction } from '@stepping/db-typeorm';
import { typeormStore } from '@stepping/tm-local-typeorm';
import type { Client } from 'pg';
import { DataSource, type DataSourceOptions, type QueryRunner } from 'typeorm';
import type { Order } from '../contestant.js';
import { INSERT_ORDER } from '../orders.js';
import { type SteppingDatabase, stepping } from './stepping.js';

/** Jobs that have ended are never due again. */
const UNFINISHED = 'select exists (select 1 from stepping_job where due_at is not null) as unfinished';

type InsertOrder = (runner: QueryRunner, order: Order) => Promise<unknown>;
type PlaceOrder = (
  app: Stepping<any>,
  orders: DataSource,
  insert: InsertOrder,
  order: Order,
  addSteps: (job: JobBuilder) => void,
) => Promise<unknown>;

const bodyOfOurs: PlaceOrder = (app, orders, insert, order, addSteps) =>
  inTransaction(app, orders, async ({ queryRunner, job }) => {
    await insert(queryRunner, order);
    addSteps(job);
  });

/** The transaction that a user opens, holds and commits. */
const heldByUser: PlaceOrder = async (app, orders, insert, order, addSteps) => {
  const runner = orders.createQueryRunner();
  try {
    await runner.startTransaction();
    await insert(runner, order);
    const job = app.createJob({ transaction: typeormTransaction(runner) });
    addSteps(job);
    await job.prepare();
    await runner.commitTransaction();
    await job.submit();
  } finally {
    await runner.release();
  }
};

function on(optionsOf: (database: string) => DataSourceOptions, insert: InsertOrder, placeOrder: PlaceOrder): SteppingDatabase<DataSource> {
  return {
    connect: (database) => new DataSource(optionsOf(database)).initialize(),
    store: (dataSource) => typeormStore({ dataSource }),
    transactions: (dataSource) => typeormDb({ dataSource }),
    placeOrder: (app, orders, order, addSteps) => placeOrder(app, orders, insert, order, addSteps),
    hasUnfinished: async (dataSource) => Boolean(Number((await dataSource.query(UNFINISHED))[0].unfinished)),
    close: (dataSource) => dataSource.destroy(),
  };
}

// The pool as large as the number of callers, as the peers have it.
const postgres = (url: string): DataSourceOptions => ({ type: 'postgres', url, poolSize: 16 });
const mariadb = (url: string): DataSourceOptions => ({ type: 'mariadb', url, poolSize: 16 });
const sqlite = (database: string): DataSourceOptions => ({ type: 'better-sqlite3', database });

/** On the driver's own client, named, as the peers' transactions have it. */
const insertOnPostgres: InsertOrder = async (runner, { customer, amount }) =>
  ((await runner.connect()) as Client).query({ ...INSERT_ORDER, values: [customer, amount] });
const insertByQuestionMarks: InsertOrder = (runner, { customer, amount }) =>
  runner.query('insert into bench_order (customer, amount) values (?, ?)', [customer, amount]);

export const contestants = {
  postgres: stepping(on(postgres, insertOnPostgres, bodyOfOurs), { unfinishedSql: UNFINISHED }),
  'postgres:held': stepping(on(postgres, insertOnPostgres, heldByUser), { unfinishedSql: UNFINISHED }),
  'postgres:kinds': stepping(on(postgres, insertOnPostgres, bodyOfOurs), { others: { kinds: 1_000, queues: 20 } }),
  mariadb: stepping(on(mariadb, insertByQuestionMarks, bodyOfOurs)),
  sqlite: stepping(on(sqlite, insertByQuestionMarks, bodyOfOurs)),
};
