import type { QuotedName } from '@stepping/typeorm';
import { NOW } from './now.js';

/** Claims a row that was selected in the same write transaction. Values: lease in ms, id. */
export const claimJob = (table: QuotedName) => `update ${table} set due_at = ${NOW} + ?, lease = lease + 1, held = 1 where id = ?`;
