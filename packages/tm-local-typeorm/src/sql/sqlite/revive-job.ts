import type { QuotedName } from '@stepping/typeorm';
import { ROLLED_BACK } from '../../status.js';
import { NOW } from './now.js';

/** Makes a rolled-back row the new job's (R4). Values: instance, status, queue, tenant, db, steps, held, ms until it is due, gid, lease found. Rows: 1 if it still was rolled back. */
export const reviveJob = (table: QuotedName) => `
  update ${table}
  set instance = ?, status = ?, queue = ?, tenant = ?, db = ?, steps = ?, held = ?, due_at = ${NOW} + ?,
      step = 0, attempt = 1, lease = lease + 1, created_at = ${NOW}, finished_at = null, last_error = null
  where gid = ? and lease = ? and status = ${ROLLED_BACK}
  returning lease`;
