import { readFileSync } from 'node:fs';
import mysql from 'mysql2/promise';
import type { Databases } from './databases.js';
import type { TestServer } from './test-services.js';

export async function mariadbDatabases(server: TestServer): Promise<Databases> {
  const probe = await server.createDatabase('probe');
  const [settings] = await query(
    probe,
    'select version() as version, @@innodb_flush_log_at_trx_commit as flush, @@sync_binlog as sync_binlog, @@log_bin as log_bin, @@pid_file as pid_file',
  );
  await server.dropAll();
  const binlog = settings.log_bin ? `sync_binlog ${settings.sync_binlog}` : 'no binary log';
  return {
    described: `MariaDB ${settings.version}, innodb_flush_log_at_trx_commit ${settings.flush}, ${binlog}`,
    serverPid: pidIn(settings.pid_file),
    open: (label) => server.createDatabase(label),
    async createOrders(database) {
      await query(
        database,
        'create table bench_order (id bigint auto_increment primary key, customer varchar(100) not null, amount int not null, created_at datetime(6) not null default now(6))',
      );
    },
    async relax(database) {
      await query(database, 'set global innodb_flush_log_at_trx_commit = 2');
    },
    async settle(database) {
      await query(database, `set global innodb_flush_log_at_trx_commit = ${settings.flush}`);
      for (const table of await query(database, 'show tables')) await query(database, `analyze table \`${Object.values(table)[0]}\``);
    },
    dropAll: () => server.dropAll(),
    stop: async () => {},
  };
}

/** Where the server is on this machine, and lets us look. */
function pidIn(file: string): number | undefined {
  try {
    return Number(readFileSync(file, 'utf8').trim());
  } catch {
    return undefined;
  }
}

async function query(uri: string, sql: string): Promise<any[]> {
  const connection = await mysql.createConnection({ uri });
  try {
    return (await connection.query(sql))[0] as any[];
  } finally {
    await connection.end();
  }
}
