import { DataSource, type DataSourceOptions } from 'typeorm';
import { config, type DatabaseConfig } from './config.js';
import { Order, Reservation, Stock } from './entities.js';
import { CreateShop1764000000000 } from './migrations.js';

const shopSchema = { entities: [Order, Stock, Reservation], migrations: [CreateShop1764000000000] };

/** The orders. */
export const shopDb = new DataSource({ ...connection(config.shop ?? config.jobs), ...shopSchema });

/** The jobs: the same DataSource unless the orders have a database of their own. */
export const jobsDb = config.shop ? new DataSource(connection(config.jobs)) : shopDb;

export async function openDatabases(): Promise<void> {
  await shopDb.initialize();
  if (jobsDb !== shopDb) await jobsDb.initialize();
  // Whoever takes orders makes their tables. A worker alone has no work before there were any.
  if (config.role !== 'worker') await shopDb.runMigrations();
}

export async function closeDatabases(): Promise<void> {
  for (const database of new Set([shopDb, jobsDb])) if (database.isInitialized) await database.destroy();
}

function connection({ kind, at }: DatabaseConfig): DataSourceOptions {
  if (kind === 'postgres') return { type: 'postgres', url: at };
  if (kind === 'mariadb') return { type: 'mariadb', url: at, timezone: 'Z' };
  return { type: 'better-sqlite3', database: at, enableWAL: true };
}
