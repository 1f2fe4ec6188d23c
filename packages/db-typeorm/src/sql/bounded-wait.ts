import type { Dialect } from '@stepping/typeorm';
import { LOCK_TIMEOUT_MS } from '../send.js';

/**
 * The `from` of a write that is a transaction by itself: bounds its wait for locks on rows, in the one trip. Evaluated before the first row is touched, and over with the statement, so a pooler in between
 * keeps nothing of it. The others have it in the settings of the connection (MySQL), or in the wait for the file (SQLite).
 */
export function boundedWait(dialect: Dialect): string {
  return dialect === 'postgres' ? ` from set_config('lock_timeout', '${LOCK_TIMEOUT_MS}', true)` : '';
}
