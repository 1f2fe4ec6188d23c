import type { Dialect } from '@stepping/typeorm';

/** The placeholder of the n-th value, from 1. Every statement names each value once, in order. */
export function parameter(dialect: Dialect, n: number): string {
  return dialect === 'postgres' ? `$${n}` : '?';
}

/** The same, where PostgreSQL would not see by itself that it is a number. */
export function numberParameter(dialect: Dialect, n: number): string {
  return dialect === 'postgres' ? `$${n}::integer` : '?';
}

/** Ends an insert that leaves a taken key alone. MySQL has none that would not swallow other errors: there the insert fails, and it alone. */
export function onConflict(dialect: Dialect): string {
  return dialect === 'mysql' ? '' : ' on conflict do nothing';
}
