import type { Table } from '../tables.js';
import { parameter } from './parameter.js';

// `op <> 'msg'` is the condition of the index: SQLite takes a partial index only where it finds that very condition.

/** Deletes barriers of received keys that are old enough. Values: age in ms, limit. */
export function deleteReceived({ dialect, name }: Table): string {
  if (dialect === 'mysql') return `delete from ${name} where op = 'receive' and created_at < ${before(dialect, 1)} limit ?`;
  const old = `select gid, branch_id, op, barrier_id from ${name} where op <> 'msg' and op = 'receive' and created_at < ${before(dialect, 1)} limit ${parameter(dialect, 2)}`;
  return `delete from ${name} where (gid, branch_id, op, barrier_id) in (${old})`;
}

/** The gids of jobs whose steps have left barriers that are old enough, in order. Values: age in ms, gid to go on after, limit. */
export function selectEffects({ dialect, name }: Table): string {
  return `select distinct gid from ${name} where op <> 'msg' and op = 'once' and created_at < ${before(dialect, 1)} and gid > ${parameter(dialect, 2)} order by gid limit ${parameter(dialect, 3)}`;
}

/** Deletes the barriers of steps of some jobs that are old enough: a gid may have been started anew. Values: age in ms, the gids (PostgreSQL: an array; SQLite: as JSON). */
export function deleteEffects({ dialect, name }: Table): string {
  if (dialect === 'mysql') {
    // The values in their order: the age is read first.
    return `
      delete b from (select ${before(dialect, 1)} as before_this) age
      straight_join json_table(?, '$[*]' columns (gid varchar(129) character set utf8mb4 collate utf8mb4_bin path '$')) v
      straight_join ${name} b force index (primary) on b.gid = v.gid
      where b.op = 'once' and b.created_at < age.before_this`;
  }
  const gids = dialect === 'postgres' ? 'gid = any($2)' : 'gid in (select value from json_each(?))';
  return `delete from ${name} where op = 'once' and created_at < ${before(dialect, 1)} and ${gids}`;
}

function before(dialect: Table['dialect'], n: number): string {
  if (dialect === 'postgres') return `clock_timestamp() - ${parameter(dialect, n)}::bigint * interval '1 ms'`;
  if (dialect === 'mysql') return 'utc_timestamp(6) - interval ? * 1000 microsecond';
  return `strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-' || (${parameter(dialect, n)} / 1000.0) || ' seconds')`;
}
