import type { BarrierTable } from '../barrier-table.js';

/**
 * Deletes all barriers of some gids, but for those younger than half an hour: a gid that was purged may have been started anew meanwhile, and needs its barrier.
 * Value: the gids (PostgreSQL: an array; SQLite: as JSON).
 */
export function purgeBarriers({ dialect, name }: BarrierTable): string {
  if (dialect === 'postgres') return `delete from ${name} where gid = any($1) and created_at < clock_timestamp() - interval '30 minutes'`;
  return `delete from ${name} where gid in (select value from json_each(?)) and created_at < strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-30 minutes')`;
}
