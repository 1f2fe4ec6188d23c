import type { QuotedName } from '@stepping/typeorm';
import { SUBMITTED } from '../../status.js';

/**
 * The most frequent of the writes of {@link saveJob}: a job goes on under the same lease, and nothing else changes. SQLite rewrites the entries of every index
 * that has a column in `set`, be its value another one or not, so this has none of them. Values: step, attempt, gid, lease, step, attempt. Changes: 1 if the fence
 * matched and the row is not further than this write.
 */
export const saveCheckpoint = (table: QuotedName) => `
  update ${table} set step = ?, attempt = ?
  where gid = ? and lease = ? and status = ${SUBMITTED} and (step, attempt) <= (?, ?)`;
