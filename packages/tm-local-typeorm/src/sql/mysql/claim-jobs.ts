import type { QuotedName } from '@stepping/typeorm';
import { ageMs, inMs, NOW } from './now.js';

/**
 * The due rows of a queue, the most overdue first, but for those that others have locked; locked from now on. Values: index, queue, limit. Rows: gid, lease, instance, status, queue, step,
 * attempt, held, tenant, db, steps, age in ms.
 */
export const selectDue = (table: QuotedName, dueIndex: QuotedName) => `
  select gid, lease, instance, status, queue, step, attempt, held, tenant, db, steps, ${ageMs('created_at')}
  from ${table} force index (${dueIndex})
  where queue = ? and due_at <= ${NOW}
  order by due_at
  limit ?
  for update skip locked`;

/** Claims rows that are locked. Values: lease in ms, list of gids. */
export const claimJobs = (table: QuotedName) => `
  update ${table} force index (primary)
  set due_at = ${inMs('?')}, lease = lease + 1, held = 1
  where gid in (?)`;
