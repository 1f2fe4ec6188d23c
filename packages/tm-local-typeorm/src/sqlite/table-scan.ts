import { setImmediate as nextTurn } from 'node:timers/promises';
import type { SqliteStatements } from './sqlite-statements.js';
import type { SqliteWriter } from './sqlite-writer.js';

/** Ids in one look: SQLite is synchronous, and 5 000 rows hold up the event loop for some 10 ms. */
const RANGE = 5_000;

/** Rows with `id > after and id <= upTo`. */
export interface IdRange {
  readonly after: number;
  readonly upTo: number;
}

/** All rows that there are now, in ranges that are read one by one with everything else of the process in between. Begins after `from`, and ends there. */
export async function* idRanges(writer: SqliteWriter, sql: SqliteStatements, from = 0): AsyncGenerator<IdRange> {
  const { first, last }: { first: number | null; last: number | null } = await writer.read(() => writer.prepare(sql.selectIds).get());
  if (first === null || last === null) return;
  const start = Math.min(Math.max(from, first - 1), last);
  for (const [begin, end] of [
    [start, last],
    [first - 1, start],
  ] as const) {
    for (let after = begin; after < end; after += RANGE) {
      yield { after, upTo: Math.min(after + RANGE, end) };
      await nextTurn();
    }
  }
}
