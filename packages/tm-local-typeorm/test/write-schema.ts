// Writes the dumps in `schema/` anew, after a migration was added: node --import ./test/register.mjs packages/tm-local-typeorm/test/write-schema.ts postgres://…/an-empty-database mysql://…/another (MariaDB)
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DataSource } from 'typeorm';
import { openStore } from './a-store.js';
import { dumpMysql, dumpPostgres, dumpSqlite } from './dump-schema.js';

const folder = mkdtempSync(join(tmpdir(), 'stepping-schema-'));
await write('sqlite', new DataSource({ type: 'better-sqlite3', database: join(folder, 'empty.sqlite') }), dumpSqlite);
rmSync(folder, { recursive: true });
for (const url of process.argv.slice(2)) {
  if (url.startsWith('mysql:')) await write('mysql', new DataSource({ type: 'mariadb', url }), dumpMysql);
  else await write('postgres', new DataSource({ type: 'postgres', url }), dumpPostgres);
}

async function write(dialect: string, dataSource: DataSource, dump: (dataSource: DataSource) => Promise<string>): Promise<void> {
  await dataSource.initialize();
  await openStore({ dataSource }).migrate();
  writeFileSync(join(import.meta.dirname, `../schema/${dialect}.sql`), await dump(dataSource));
  await dataSource.destroy();
}
