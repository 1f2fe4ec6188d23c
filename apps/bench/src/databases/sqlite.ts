import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import Database from 'better-sqlite3';
import type { Databases } from './databases.js';

export async function sqliteDatabases(): Promise<Databases> {
  const directory = mkdtempSync(join(tmpdir(), 'stepping-bench-'));
  const version = new Database(':memory:').prepare<[], { v: string }>('select sqlite_version() as v').get()?.v;
  const remove = () => rmSync(directory, { recursive: true, force: true });
  process.once('exit', remove);
  let opened: string[] = [];
  return {
    described: `SQLite ${version}, WAL, synchronous FULL`,
    serverPid: undefined,
    async open(label) {
      const folder = mkdtempSync(join(directory, `${label}-`));
      opened.push(folder);
      return join(folder, 'bench.sqlite');
    },
    async createOrders(file) {
      const db = new Database(file);
      db.pragma('journal_mode = WAL');
      db.exec(
        'create table bench_order (id integer primary key, customer text not null, amount integer not null, created_at integer not null default (unixepoch())) strict',
      );
      db.close();
    },
    async relax() {},
    async settle() {},
    async dropAll() {
      for (const folder of opened) rmSync(folder, { recursive: true, force: true });
      opened = [];
    },
    async stop() {
      process.off('exit', remove);
      remove();
    },
  };
}
