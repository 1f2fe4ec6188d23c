import type { QuotedName } from '@stepping/typeorm';
import { NOW } from './now.js';

/** Renews a lease. Values: lease in ms, gid, lease. Changes: 1 if it is still held. */
export const extendLease = (table: QuotedName) => `update ${table} set due_at = ${NOW} + ? where gid = ? and lease = ?`;
