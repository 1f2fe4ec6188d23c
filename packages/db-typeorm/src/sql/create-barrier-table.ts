import type { Dialect } from '@stepping/typeorm';
import type { Table } from '../tables.js';

/**
 * The columns are DTM's, so that one table serves its clients, too. Keys are compared byte by byte, whatever the language of the database. `created_at` is the time of the
 * insert, not of the transaction's begin: a young barrier of a long transaction must not look old to a purge.
 */
export function createBarrierTable({ dialect, name }: Table): string {
  const { text, createdAt, end } = TYPES[dialect];
  return `create table ${name} (trans_type ${text(45)}, gid ${text(128)}, branch_id ${text(128)}, op ${text(45)}, barrier_id ${text(255)}, reason ${text(45)}, created_at ${createdAt}, primary key (gid, branch_id, op, barrier_id))${end}`;
}

/** Lengths are for MySQL, whose keys must have one. */
const TYPES: Record<Dialect, { text(length: number): string; createdAt: string; end: string }> = {
  postgres: {
    text: () => 'text collate "C" not null',
    createdAt: 'timestamptz not null default clock_timestamp()',
    end: '',
  },
  mysql: {
    text: (length) => `varchar(${length}) not null`,
    createdAt: 'datetime(6) not null default (utc_timestamp(6))',
    end: ' engine = InnoDB default character set utf8mb4 collate utf8mb4_bin',
  },
  sqlite: {
    text: () => 'text not null',
    createdAt: "text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
    end: '',
  },
};
