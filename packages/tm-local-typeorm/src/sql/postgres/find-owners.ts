import type { QuotedName } from '@stepping/typeorm';

/** Whose these gids are, and how far they got. Value: array of gid. Rows: gid, instance, status, lease. */
export const findOwners = (table: QuotedName) => `select gid, instance, status, lease from ${table} where gid = any($1::text[])`;

/**
 * The same for one gid, by a write that changes nothing: it waits for whoever has written the row and not committed yet (A5), which a select would read past. Value: gid.
 */
export const touchOwner = (table: QuotedName) => `update ${table} set held = held where gid = $1 returning gid, instance, status, lease`;
