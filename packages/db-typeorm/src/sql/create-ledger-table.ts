import type { Dialect } from '@stepping/typeorm';
import type { Table } from '../tables.js';

/**
 * One row for each step (its position in the job) of each start of a job that an external transaction manager runs. `due_at`: when the next attempt may begin; of a held one, when its hold ends;
 * of one that is done or dead, when it ended. `token`: of the attempt that wrote the row last. Keys are compared byte by byte.
 */
export function createLedgerTable({ dialect, name }: Table): string {
  const { text, number, long, time, end } = TYPES[dialect];
  return `create table ${name} (gid ${text(128)}, instance ${text(128)}, step ${number} not null, generation ${number} not null, state ${text(8)}, attempts ${number} not null, token ${text(64)}, held ${number} not null, due_at ${time} not null, interval_ms ${number}, last_error ${long}, primary key (gid, instance, step))${end}`;
}

/** Lengths are for MySQL, whose keys must have one. */
const TYPES: Record<Dialect, { text(length: number): string; number: string; long: string; time: string; end: string }> = {
  postgres: { text: () => 'text collate "C" not null', number: 'integer', long: 'text', time: 'timestamptz', end: '' },
  mysql: {
    text: (length) => `varchar(${length}) not null`,
    number: 'integer',
    long: 'longtext',
    time: 'datetime(6)',
    end: ' engine = InnoDB default character set utf8mb4 collate utf8mb4_bin',
  },
  sqlite: { text: () => 'text not null', number: 'integer', long: 'text', time: 'integer', end: '' },
};
