import type { QuotedName } from '@stepping/typeorm';

/** The first and the last row, in the order in which they were inserted; null where there is none. */
export const selectIds = (table: QuotedName) => `select (select min(id) from ${table}) as first, (select max(id) from ${table}) as last`;
