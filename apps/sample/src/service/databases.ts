import type { StorePlugin } from '@stepping/tm-local';
import { mongooseStore } from '@stepping/tm-local-mongoose';
import { typeormStore } from '@stepping/tm-local-typeorm';
import { type Connection, createConnection } from 'mongoose';
import { DataSource, type DataSourceOptions } from 'typeorm';
import { config, type DatabaseConfig } from './config.js';
import { MongooseShop } from './mongoose-shop.js';
import type { Shop } from './shop.js';
import { shopSchema, TypeormShop } from './typeorm-shop.js';

const inShop = config.shop ?? config.jobs;
// The same object where orders and jobs share a database: one commit then does for both.
const shopDb = inShop.kind === 'mongo' ? createConnection(inShop.at) : new DataSource({ ...sqlOptions(inShop), ...shopSchema });
const jobsDb = config.shop ? databaseAt(config.jobs) : shopDb;

/** The orders. */
export const shop: Shop = shopDb instanceof DataSource ? new TypeormShop(shopDb) : new MongooseShop(shopDb);

/** The jobs. */
export const jobs: StorePlugin =
  jobsDb instanceof DataSource ? typeormStore({ dataSource: jobsDb }) : mongooseStore({ connection: jobsDb });

export async function openDatabases(): Promise<void> {
  // Whoever takes orders makes their tables. A worker alone has no work before there were any.
  await shop.open({ migrate: config.role !== 'worker' });
  if (jobsDb === shopDb) return;
  await (jobsDb instanceof DataSource ? jobsDb.initialize() : jobsDb.asPromise());
}

export async function closeDatabases(): Promise<void> {
  await shop.close();
  if (jobsDb === shopDb) return;
  if (!(jobsDb instanceof DataSource)) await jobsDb.close();
  else if (jobsDb.isInitialized) await jobsDb.destroy();
}

function databaseAt(database: DatabaseConfig): DataSource | Connection {
  return database.kind === 'mongo' ? createConnection(database.at) : new DataSource(sqlOptions(database));
}

function sqlOptions({ kind, at }: DatabaseConfig): DataSourceOptions {
  if (kind === 'postgres') return { type: 'postgres', url: at };
  if (kind === 'mariadb') return { type: 'mariadb', url: at, timezone: 'Z' };
  return { type: 'better-sqlite3', database: at, enableWAL: true };
}
