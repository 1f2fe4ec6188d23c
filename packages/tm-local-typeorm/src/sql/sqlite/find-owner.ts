import type { QuotedName } from '@stepping/typeorm';

/** Whose a gid is, and how far it got. Value: gid. */
export const findOwner = (table: QuotedName) => `select instance, status, lease from ${table} where gid = ?`;
