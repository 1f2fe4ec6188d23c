import { inTransaction, once, typeormDb } from '@stepping/db-typeorm';
import { typeormStore } from '@stepping/tm-local-typeorm';
import pg from 'pg';
import { DataSource, type DataSourceOptions } from 'typeorm';
import type { Books } from './books.js';
import type { Place } from './place.js';

// Between the listener of the pool and that of TypeORM a client of `pg` has none: a connection that breaks there, of the user's own pool, would end the process.
const connect = pg.Client.prototype.connect as (this: pg.Client, ...args: unknown[]) => unknown;
Object.assign(pg.Client.prototype, {
  connect(this: pg.Client, ...args: unknown[]) {
    this.on('error', () => {});
    return connect.apply(this, args);
  },
});

export async function openSqlBooks(business: Place, jobs: Place): Promise<Books> {
  const dataSource = await new DataSource(optionsOf(business)).initialize();
  const ofJobs = jobs === business ? dataSource : await new DataSource(optionsOf(jobs)).initialize();
  const ids = async (table: string): Promise<string[]> =>
    (await dataSource.query(`select id from ${table}`)).map(({ id }: { id: string }) => id);
  return {
    store: typeormStore({ dataSource: ofJobs }),
    database: typeormDb({ dataSource }),
    async setUp() {
      await dataSource.query('create table shop_order (id varchar(200) primary key)');
      await dataSource.query('create table shop_effect (id varchar(200))');
    },
    order: (stepping, gid, addSteps) =>
      inTransaction(stepping, { dataSource, gid }, async ({ manager, job }) => {
        await manager.query(`insert into shop_order (id) values ('${gid}')`);
        addSteps(job);
      }),
    async effect(context) {
      await once(dataSource, context, (manager) => manager.query(`insert into shop_effect (id) values ('${context.idempotencyKey}')`));
    },
    read: async () => ({ orders: new Set(await ids('shop_order')), effects: await ids('shop_effect') }),
    async spoil(gid) {
      await ofJobs.query(`update stepping_job set steps = '{"v":1,"st' where gid = '${gid}'`);
    },
    async look() {
      const own = await new DataSource(optionsOf(jobs)).initialize();
      const runner = own.createQueryRunner();
      await (jobs.kind === 'sqlite' ? runner.startTransaction() : runner.startTransaction('REPEATABLE READ'));
      await runner.query('select count(*) from stepping_job');
      return async () => {
        await runner.rollbackTransaction();
        await own.destroy();
      };
    },
    async close() {
      for (const one of new Set([dataSource, ofJobs])) await one.destroy();
    },
  };
}

export function optionsOf({ kind, url }: Place): DataSourceOptions {
  switch (kind) {
    case 'postgres':
      return { type: 'postgres', url, poolSize: 10, connectTimeoutMS: 5_000, poolErrorHandler: () => {} };
    case 'mariadb':
      return { type: 'mariadb', url, poolSize: 10, connectTimeout: 5_000 };
    default:
      return { type: 'better-sqlite3', database: url, enableWAL: true };
  }
}
