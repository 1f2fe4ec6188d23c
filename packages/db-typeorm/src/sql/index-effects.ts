import { quoteName } from '@stepping/typeorm';
import type { Table } from '../tables.js';

/** For sweeps, which go by age. Barriers of messages are not in it: they are many, and nobody looks for them by age. */
export function indexEffects({ dialect, name }: Table): string {
  const partly = dialect === 'mysql' ? '' : " where op <> 'msg'"; // MySQL has no partial index
  return `create index ${quoteName(dialect, 'stepping_barrier_effect')} on ${name} (op, created_at)${partly}`;
}
