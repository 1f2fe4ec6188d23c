import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { createConnection } from 'mongoose';
import mysql from 'mysql2/promise';
import pg from 'pg';
import type { DemoOptions } from './options.js';
import type { Processes, Server } from './processes.js';

/** Where the service finds its databases, and what to do with them afterwards. */
export interface DemoDatabases {
  readonly env: Readonly<Record<string, string>>;
  /** Of the orders: a file or a URL. */
  readonly shop: string;
  /** Removes what is not in the directory of the demo. */
  remove(): Promise<void>;
}

/** New, empty databases: SQLite files in the directory, or databases of a server, which is started unless STEPPING_DB_URL names one. */
export async function makeDatabases({ db, twoDatabases }: DemoOptions, directory: string, processes: Processes): Promise<DemoDatabases> {
  const names = twoDatabases ? ['jobs', 'shop'] : ['shop'];
  if (db === 'sqlite') {
    const files = names.map((name) => join(directory, `${name}.sqlite`));
    return { ...addresses(db, files), remove: async () => {} };
  }
  const given = process.env.STEPPING_DB_URL;
  const server = given === undefined ? await startServer(db, directory, processes) : undefined;
  const admin = server?.url ?? (given as string);
  const unique = `stepping_demo_${process.pid}_${Date.now()}`;
  const databases = names.map((name) => `${unique}_${name}`);
  for (const database of databases) await CREATE[db](admin, database);
  // Not by URL, which does not know several hosts.
  const urls = databases.map((database) => admin.replace(/^([a-z+]+:\/\/[^/?]+)(\/[^?]*)?/, `$1/${database}`));
  return {
    ...addresses(db, urls),
    async remove() {
      if (server) return; // its data is in the directory
      for (const database of databases) await DROP[db](admin, database);
    },
  };
}

function addresses(db: DemoOptions['db'], [jobs, shop]: string[]): { env: Record<string, string>; shop: string } {
  const env = { STEPPING_DB: db, STEPPING_DB_URL: jobs as string };
  return shop === undefined ? { env, shop: jobs as string } : { env: { ...env, STEPPING_BUSINESS_DB: shop }, shop };
}

type Service = Exclude<DemoOptions['db'], 'sqlite'>;

/** What the tests call it. */
const SERVICES = { postgres: 'postgres', mariadb: 'mariadb', mongo: 'mongodb' };

function startServer(db: Service, directory: string, processes: Processes): Promise<Server> {
  const service = SERVICES[db];
  // Where we are root, it runs as somebody else, who must get through to its data.
  chmodSync(directory, 0o711);
  return processes.start({
    name: service,
    script: 'outside/database-server',
    args: ['--service', service, '--directory', join(directory, service)],
  });
}

const CREATE: Record<Service, (admin: string, name: string) => Promise<void>> = {
  postgres: (admin, name) => overPostgres(admin, `create database ${name}`),
  mariadb: (admin, name) => overMariadb(admin, `create database ${name}`),
  mongo: async () => {}, // made by the first who writes to it
};

const DROP: Record<Service, (admin: string, name: string) => Promise<void>> = {
  postgres: (admin, name) => overPostgres(admin, `drop database ${name} with (force)`),
  mariadb: (admin, name) => overMariadb(admin, `drop database ${name}`),
  async mongo(admin, name) {
    const connection = await createConnection(admin).asPromise();
    try {
      await connection.useDb(name).dropDatabase();
    } finally {
      await connection.close();
    }
  },
};

async function overPostgres(connectionString: string, sql: string): Promise<void> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    await client.query(sql);
  } finally {
    await client.end();
  }
}

async function overMariadb(uri: string, sql: string): Promise<void> {
  const connection = await mysql.createConnection(uri);
  try {
    await connection.query(sql);
  } finally {
    await connection.end();
  }
}
