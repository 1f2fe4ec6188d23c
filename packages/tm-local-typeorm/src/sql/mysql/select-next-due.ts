import type { QuotedName } from '@stepping/typeorm';
import { ageMs } from './now.js';

/**
 * How long until the earliest unfinished row of each queue is due, as the negative of how long it has been. One select a queue: with the name as a constant, it begins behind the
 * finished rows of the index. Values: queue, queue, for each of them. Rows: queue, ms.
 */
export const selectNextDue = (table: QuotedName, dueIndex: QuotedName, queues: number) =>
  Array.from(
    { length: queues },
    () =>
      `(select ?, -(${ageMs('due_at')}) from ${table} force index (${dueIndex}) where queue = ? and due_at > '1000-01-01' order by due_at limit 1)`,
  ).join(' union all ');
