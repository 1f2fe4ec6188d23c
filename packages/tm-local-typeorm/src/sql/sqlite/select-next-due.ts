import type { QuotedName } from '@stepping/typeorm';
import { NOW } from './now.js';

/** How long until the earliest unfinished row of each queue is due. Value: the queues as a JSON array. */
export const selectNextDue = (table: QuotedName) => `
  select queue, due_in_ms
  from (
    select q.value as queue, (select j.due_at - ${NOW} from ${table} j where j.queue = q.value and j.due_at is not null order by j.due_at limit 1) as due_in_ms
    from json_each(?) q)
  where due_in_ms is not null`;
