import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from '@jest/globals';
import { postgresDatabase, type TestService, testService } from '@stepping/test-services';
import { DataSource, EntitySchema } from 'typeorm';

export interface Order {
  id: number;
  what: string;
}

export const Order = new EntitySchema<Order>({
  name: 'order',
  columns: { id: { type: Number, primary: true, generated: true }, what: { type: String } },
});

/** A database as a user sets it up, with one table. */
export interface TestDatabase {
  readonly name: string;
  describe(title: string, body: () => void): void;
  /** A new, empty database, connected. */
  open(options?: object): Promise<DataSource>;
  /** Another DataSource to the same database, not connected: another process. */
  another(dataSource: DataSource, options?: object): DataSource;
}

const postgresService = await testService('postgres');
const folder = mkdtempSync(join(tmpdir(), 'stepping-db-typeorm-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
let files = 0;

export const newFile = () => join(folder, `${++files}.sqlite`);

export const sqlite: TestDatabase = {
  name: 'SQLite',
  describe,
  open: (options) =>
    new DataSource({
      type: 'better-sqlite3',
      database: newFile(),
      entities: [Order],
      synchronize: true,
      enableWAL: true,
      ...options,
    }).initialize(),
  another: (dataSource, options) => new DataSource({ ...dataSource.options, synchronize: false, ...options }),
};

export const sqliteWithoutWal: TestDatabase = {
  ...sqlite,
  name: 'SQLite without WAL',
  open: (options) => sqlite.open({ enableWAL: false, ...options }),
};

export const postgres: TestDatabase = {
  name: 'PostgreSQL',
  describe: (title, body) => postgresService.describe(title, body),
  open: async (options) =>
    new DataSource({
      type: 'postgres',
      url: await postgresDatabase(),
      entities: [Order],
      synchronize: true,
      poolSize: 10,
      ...options,
    }).initialize(),
  another: (dataSource, options) => new DataSource({ ...dataSource.options, synchronize: false, ...options }),
};

const mysqlOn = (service: TestService, type: 'mariadb' | 'mysql'): TestDatabase => ({
  name: type === 'mariadb' ? 'MariaDB' : 'MySQL',
  describe: (title, body) => service.describe(title, body),
  open: async (options) =>
    new DataSource({ type, url: await service.database(), entities: [Order], synchronize: true, poolSize: 10, ...options }).initialize(),
  another: (dataSource, options) => new DataSource({ ...dataSource.options, synchronize: false, ...options }),
});

export const mariadb = mysqlOn(await testService('mariadb'), 'mariadb');
export const mysql = mysqlOn(await testService('mysql'), 'mysql');

/** Those with one dialect. MySQL only runs where somebody names a server. */
export const mysqls: readonly TestDatabase[] = [mariadb, mysql];
