import type { BarrierTable } from '../barrier-table.js';

/**
 * The columns are DTM's, so that one table serves its clients, too. `created_at` is the time of the insert, not of the transaction's begin: a young barrier of a
 * long transaction must not look old to a purge.
 */
export function createBarrierTable({ dialect, name }: BarrierTable): string {
  // Keys are compared byte by byte, whatever the language of the database.
  const text = dialect === 'postgres' ? 'text collate "C" not null' : 'text not null';
  const createdAt =
    dialect === 'postgres'
      ? 'timestamptz not null default clock_timestamp()'
      : "text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))";
  return `create table ${name} (trans_type ${text}, gid ${text}, branch_id ${text}, op ${text}, barrier_id ${text}, reason ${text}, created_at ${createdAt}, primary key (gid, branch_id, op, barrier_id))`;
}
