import type { QuotedName } from '@stepping/typeorm';
import { PREPARED, SUBMITTED } from '../../status.js';
import { NOW } from './now.js';

/** Rows by status, in a range of ids. Named values: after, upTo. */
export const countByStatus = (table: QuotedName) =>
  `select status, count(*) as jobs from ${table} where id > :after and id <= :upTo group by status`;

/** How long the most overdue submitted row has been due, and the age of the oldest prepared one; null where there is none. */
export const selectOldest = (table: QuotedName) => `
  select (select ${NOW} - min(due_at) from ${table} where due_at <= ${NOW} and status = ${SUBMITTED}) as due_ms,
         (select ${NOW} - min(created_at) from ${table} where status = ${PREPARED}) as prepared_ms`;
