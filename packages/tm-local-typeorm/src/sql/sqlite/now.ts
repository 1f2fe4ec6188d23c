/** Milliseconds since 1970 by the clock of SQLite: the same in every row of one statement. */
export const NOW = `cast(round(unixepoch('subsec') * 1000) as integer)`;
