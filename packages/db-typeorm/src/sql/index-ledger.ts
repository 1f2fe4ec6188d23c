import { quoteName } from '@stepping/typeorm';
import type { Table } from '../tables.js';

/** For sweeps, which go by age. */
export function indexLedger({ dialect, name }: Table): string {
  return `create index ${quoteName(dialect, 'stepping_ledger_due')} on ${name} (due_at)`;
}
