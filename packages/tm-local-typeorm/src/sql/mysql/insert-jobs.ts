import type { QuotedName } from '@stepping/typeorm';
import { inMs, NOW } from './now.js';
import { rowsOf } from './rows-of.js';

const COLUMNS = 'gid, instance, status, queue, tenant, db, steps, lease, held, due_at, step, attempt, created_at';

/**
 * Inserts a batch of jobs, waiting for gids that are uncommitted elsewhere. If one gid is taken, it fails and inserts none: `insert ignore` would swallow other errors as
 * well. Value: rows of gid, instance, status, queue, tenant, db, steps, lease, held, ms until due.
 */
export const insertJobs = (table: QuotedName) => `
  insert into ${table} (${COLUMNS})
  select gid, instance, status, queue, tenant, db, steps, lease, held, ${inMs('due_in')}, 0, 1, ${NOW}
  from ${rowsOf({
    gid: 'gid',
    instance: 'text',
    status: 'whole',
    queue: 'text',
    tenant: 'text',
    db: 'text',
    steps: 'text',
    lease: 'whole',
    held: 'whole',
    due_in: 'whole',
  })}`;

/**
 * The same for one job in the transaction of a user, with each of its values; a taken gid fails this statement alone. Texts come as bytes of UTF-8, so that neither the
 * character set nor the SQL mode of the user's connection changes them.
 */
export const insertJobEnlisted = (table: QuotedName) => `
  insert into ${table} (${COLUMNS})
  values (?, ?, ?, ${TEXT}, ${TEXT}, ${TEXT}, ${TEXT}, ?, ?, ${inMs('?')}, 0, 1, ${NOW})`;

/** A value that comes as bytes. */
export const TEXT = 'convert(? using utf8mb4)';
