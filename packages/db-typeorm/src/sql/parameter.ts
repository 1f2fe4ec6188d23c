import type { Dialect } from '@stepping/typeorm';

/** The placeholder of the n-th value, from 1. Every statement names each value once, in order. */
export function parameter(dialect: Dialect, n: number): string {
  return dialect === 'postgres' ? `$${n}` : '?';
}
