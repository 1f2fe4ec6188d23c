import type { LedgerError, LedgerRecord } from '@stepping/core';
import type { LedgerEntry, LedgerRow } from '@stepping/core/db';

// How rows of the ledger are read and written by all databases. Numbers may come as texts.

export function rowOf(row: any): LedgerRow {
  return {
    generation: Number(row.generation),
    state: row.state,
    attempts: Number(row.attempts),
    token: row.token,
    held: Number(row.held) === 1,
    dueInMs: Number(row.due_in_ms),
    intervalMs: row.interval_ms === null ? undefined : Number(row.interval_ms),
  };
}

export function recordOf(row: any): LedgerRecord {
  return {
    position: Number(row.step),
    generation: Number(row.generation),
    state: row.state,
    attempts: Number(row.attempts),
    held: Number(row.held) === 1,
    lastError: row.last_error === null ? undefined : (JSON.parse(row.last_error) as LedgerError),
    dueAt: row.state === 'open' ? new Date(Math.ceil(Number(row.due_ms))) : undefined,
  };
}

/** As JSON: no database stumbles over what is in it. */
export function errorText(error: LedgerError | undefined): string | null {
  return error === undefined ? null : JSON.stringify({ name: error.name, message: error.message });
}

export function entryValues({ state, uncounted, dueInMs, intervalMs, error }: LedgerEntry): readonly unknown[] {
  return [state, uncounted, dueInMs, uncounted, intervalMs ?? null, errorText(error)];
}
