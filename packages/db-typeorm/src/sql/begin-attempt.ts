import type { Table } from '../tables.js';
import { boundedWait } from './bounded-wait.js';
import { inMs, now } from './clock.js';
import { mayBegin } from './may-begin.js';
import { numberParameter, parameter } from './parameter.js';
import { ledgerRow } from './select-ledger-row.js';

/**
 * PostgreSQL, SQLite: counts and begins an attempt, if it may (see `LedgerTable.begin` of core). Values: gid, instance, step, generation, token, lease in ms, maxAttempts. Rows: the row as it is then; none
 * if it may not.
 */
export function beginAttempt({ dialect, name }: Table): string {
  const [gid, instance, token, lease] = [1, 2, 5, 6].map((n) => parameter(dialect, n)) as [string, string, string, string];
  const [step, generation, max] = [3, 4, 7].map((n) => numberParameter(dialect, n)) as [string, string, string];
  const from = boundedWait(dialect) || ' where true'; // without either, SQLite would take the conflict for a join's
  return `
    insert into ${name} as l (gid, instance, step, generation, state, attempts, token, held, due_at)
    select ${gid}, ${instance}, ${step}, ${generation}, 'open', 1, ${token}, 1, ${inMs(dialect, lease)}${from}
    on conflict (gid, instance, step) do update set
      attempts = case when l.generation < excluded.generation then 1 when l.token = excluded.token then l.attempts else l.attempts + 1 end,
      interval_ms = case when l.generation = excluded.generation then l.interval_ms end,
      generation = excluded.generation, state = 'open', token = excluded.token, held = 1, due_at = excluded.due_at
    where ${mayBegin('l.', now(dialect), 'excluded.generation', 'excluded.token', max)}
    returning ${ledgerRow(dialect)}`;
}
