import type { QuotedName } from '@stepping/typeorm';
import { NOW } from './now.js';

/**
 * Takes the gid of a job whose commit is in doubt (R9), waiting for the transaction that it asks about. Fails if somebody has it. Values: gid, instance, status, steps, lease.
 */
export const insertRolledBack = (table: QuotedName) => `
  insert into ${table} (gid, instance, status, queue, steps, lease, held, step, attempt, created_at, finished_at)
  values (?, ?, ?, '', ?, ?, 0, 0, 1, ${NOW}, ${NOW})`;
