import type { Dialect } from '@stepping/typeorm';
import type { Table } from '../tables.js';

/**
 * Deletes all barriers of some gids, but for those younger than half an hour: a gid that was purged may have been started anew meanwhile, and needs its barrier.
 * Value: the gids (PostgreSQL: an array; the others: as JSON).
 */
export function purgeBarriers({ dialect, name }: Table): string {
  return STATEMENTS[dialect](name);
}

const STATEMENTS: Record<Dialect, (name: string) => string> = {
  postgres: (name) => `delete from ${name} where gid = any($1) and created_at < clock_timestamp() - interval '30 minutes'`,
  // In this order and by the key: reading all of a small table, it would wait for barriers of open transactions.
  mysql: (name) => `
    delete b from json_table(?, '$[*]' columns (gid varchar(129) character set utf8mb4 collate utf8mb4_bin path '$')) v
    straight_join ${name} b force index (primary) on b.gid = v.gid
    where b.created_at < utc_timestamp(6) - interval 30 minute`,
  sqlite: (name) =>
    `delete from ${name} where gid in (select value from json_each(?)) and created_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-30 minutes')`,
};
