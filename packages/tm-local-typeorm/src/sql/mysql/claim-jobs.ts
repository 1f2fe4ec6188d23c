import type { QuotedName } from '@stepping/typeorm';
import { ageMs, inMs, NOW } from './now.js';

/**
 * The due rows of a queue, the most overdue first, but for those that others have locked; locked from now on. Values: queue, limit. Rows: gid, lease, instance, status, queue, step,
 * attempt, held, tenant, db, steps, age in ms, due_at.
 */
export const selectDue = (table: QuotedName, dueIndex: QuotedName) => due(table, dueIndex, '');

/**
 * The same from a `due_at` on, which is the value after the queue: it does not walk over the entries of rows claimed before, which stay in the index while an old transaction is open
 * somewhere.
 */
export const selectDueFrom = (table: QuotedName, dueIndex: QuotedName) => due(table, dueIndex, 'and due_at >= ?');

const due = (table: QuotedName, dueIndex: QuotedName, from: string) => `
  select gid, lease, instance, status, queue, step, attempt, held, tenant, db, steps, ${ageMs('created_at')}, due_at
  from ${table} force index (${dueIndex})
  where queue = ? and due_at <= ${NOW} ${from}
  order by due_at
  limit ?
  for update skip locked`;

/** Claims rows that are locked. Values: lease in ms, list of gids. */
export const claimJobs = (table: QuotedName) => `
  update ${table} force index (primary)
  set due_at = ${inMs('?')}, lease = lease + 1, held = 1
  where gid in (?)`;

/** The earliest `due_at` below a given one: what bounded claims pass over. Values: queue, that time. */
export const peekDue = (table: QuotedName, dueIndex: QuotedName) => `
  select due_at from ${table} force index (${dueIndex}) where queue = ? and due_at > '1000-01-01' and due_at < ? and due_at <= ${NOW} order by due_at limit 1`;
