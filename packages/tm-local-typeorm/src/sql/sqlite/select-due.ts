import type { QuotedName } from '@stepping/typeorm';
import { NOW } from './now.js';

/** The due rows of a queue, the most overdue first. Values: queue, limit. */
export const selectDue = (table: QuotedName) => `
  select id, gid, instance, status, queue, step, attempt, lease, held, tenant, db, steps, ${NOW} - created_at as age_ms
  from ${table}
  where queue = ? and due_at <= ${NOW}
  order by due_at
  limit ?`;
