import type { QuotedName } from '@stepping/typeorm';

/**
 * Takes the gid of a job whose commit is in doubt (R9), waiting for the transaction that it asks about. Values: gid, instance, status, steps, lease. Rows: 1 if nobody had it.
 */
export const insertRolledBack = (table: QuotedName) => `
  insert into ${table} (gid, instance, status, queue, steps, lease, held, step, attempt, created_at, finished_at)
  values ($1, $2, $3, '', $4, $5, 0, 0, 1, now(), now())
  on conflict (gid) do nothing
  returning gid`;
