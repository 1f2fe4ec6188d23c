import type { QuotedName } from '@stepping/typeorm';
import { PREPARED, SUBMITTED } from '../../status.js';
import { ageMs } from './now.js';

/**
 * Rows by status: status, count, how long the most overdue submitted one has been due, the age of the oldest prepared one; both in ms, null or negative where there is none.
 */
export const selectStats = (table: QuotedName) => `
  select status, count(*),
         case status when ${SUBMITTED} then ${ageMs('min(due_at)')} end,
         case status when ${PREPARED} then ${ageMs('min(created_at)')} end
  from ${table} group by status`;
