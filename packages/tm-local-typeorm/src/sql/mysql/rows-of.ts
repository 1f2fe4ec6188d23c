/** How a batch comes into a statement: a JSON array of arrays as one value, read as a table. A `gid` is compared as it is stored, so that its key serves. */
const TYPES = {
  gid: 'varchar(129) character set ascii collate ascii_bin', // longer than the column: what does not fit is refused, not cut off
  text: 'longtext character set utf8mb4 collate utf8mb4_bin',
  whole: 'bigint',
} as const;

/** The table `v` of a batch, for one placeholder; `columns` in the order of the arrays. */
export function rowsOf(columns: Readonly<Record<string, keyof typeof TYPES>>): string {
  const list = Object.entries(columns).map(([name, type], i) => `${name} ${TYPES[type]} path '$[${i}]'`);
  return `json_table(?, '$[*]' columns (${list.join(', ')})) v`;
}

/**
 * Joins the rows of a batch with those of the table, each by its key. The order is given: where a table is small, a plan that reads all of it would wait for rows that others
 * have locked.
 */
export const joinByGid = (table: string) => `straight_join ${table} j force index (primary) on j.gid = v.gid`;
