import type { QuotedName } from '@stepping/typeorm';
import { PREPARED, SUBMITTED } from '../../status.js';

/** Rows by status: status, count. */
export const countByStatus = (table: QuotedName) => `select status, count(*) from ${table} group by status`;

/** How long the most overdue submitted row has been due, and the age of the oldest prepared one, in ms; null where there is none. */
export const selectOldest = (table: QuotedName) => `
  select (select extract(epoch from now() - min(due_at)) * 1000 from ${table} where due_at <= now() and status = ${SUBMITTED}),
         (select extract(epoch from now() - min(created_at)) * 1000 from ${table} where status = ${PREPARED})`;
