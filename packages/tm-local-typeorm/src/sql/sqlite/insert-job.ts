import type { QuotedName } from '@stepping/typeorm';
import { NOW } from './now.js';

/**
 * Inserts one job, unless its gid is taken. Values: gid, instance, status, queue, tenant, db, steps, lease, held, ms until it is due. Rows: 1 if it was inserted.
 * With `returning`, so that it tells through TypeORM's `query` as well.
 */
export const insertJob = (table: QuotedName) => `
  insert into ${table} (gid, instance, status, queue, tenant, db, steps, lease, held, due_at, step, attempt, created_at)
  values (?, ?, ?, ?, ?, ?, ?, ?, ?, ${NOW} + ?, 0, 1, ${NOW})
  on conflict (gid) do nothing
  returning gid`;
