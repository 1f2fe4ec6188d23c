import { createHash } from 'node:crypto';
import type { QuotedName } from '@stepping/typeorm';

/** Stands for a table in names that belong to the whole database or connection, and that are shorter than a table's may be. */
export function tableHash(table: QuotedName): string {
  return createHash('sha256').update(table).digest('hex').slice(0, 16);
}
