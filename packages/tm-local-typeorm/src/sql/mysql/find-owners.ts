import type { QuotedName } from '@stepping/typeorm';
import { joinByGid, rowsOf } from './rows-of.js';

const COLUMNS = 'j.gid, j.instance, j.status, j.lease';

/** Whose these gids are, and how far they got. Value: rows of gid. Rows: gid, instance, status, lease. */
export const findOwners = (table: QuotedName) => `select ${COLUMNS} from ${rowsOf({ gid: 'gid' })} ${joinByGid(table)}`;

/** The same, and nobody changes them before the transaction ends. */
export const lockOwners = (table: QuotedName) => `${findOwners(table)} for update`;

/**
 * The same of one gid for a transaction that may see an old state of the table only (REPEATABLE READ): a locking read waits for whoever has written the row, and reads what is
 * there then (A5). The failed insert before has this lock already. Value: gid.
 */
export const findOwnerNow = (table: QuotedName) =>
  `select ${COLUMNS} from ${table} j force index (primary) where j.gid = ? lock in share mode`;
