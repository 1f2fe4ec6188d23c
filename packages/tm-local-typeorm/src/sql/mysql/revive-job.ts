import type { QuotedName } from '@stepping/typeorm';
import { ROLLED_BACK } from '../../status.js';
import { TEXT } from './insert-jobs.js';
import { inMs, NOW } from './now.js';

/**
 * Makes a rolled-back row the new job's (R4). Values: instance, status, queue, tenant, db, steps (texts as bytes), held, ms until due, gid, lease found. Affected: 1 if it still
 * was rolled back.
 */
export const reviveJob = (table: QuotedName) => `
  update ${table}
  set instance = ?, status = ?, queue = ${TEXT}, tenant = ${TEXT}, db = ${TEXT}, steps = ${TEXT}, held = ?, due_at = ${inMs('?')},
      step = 0, attempt = 1, lease = lease + 1, created_at = ${NOW}, finished_at = null, last_error = null
  where gid = ? and lease = ? and status = ${ROLLED_BACK}`;
