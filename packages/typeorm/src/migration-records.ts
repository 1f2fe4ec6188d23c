import type { Dialect } from './dialect.js';
import type { Migrations, Place } from './migrations.js';

// The table that says which migrations were applied: one row each.

const COLUMNS: Record<Dialect, string> = {
  postgres: 'owner text not null, version integer not null, name text not null, applied_at timestamptz not null default now()',
  mysql:
    'owner varchar(64) not null, version integer not null, name varchar(200) not null, applied_at datetime(6) not null default (utc_timestamp(6))',
  sqlite:
    "owner text not null, version integer not null, name text not null, applied_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))",
};

export function createRecordTable(place: Place, { recordTable }: Migrations): string {
  const end = place.dialect === 'mysql' ? ' engine = InnoDB default character set utf8mb4 collate utf8mb4_bin' : '';
  return `create table if not exists ${place.table(recordTable)} (${COLUMNS[place.dialect]}, primary key (owner, version))${end}`;
}

/** Values: owner, version, name. */
export function insertRecord({ dialect, table }: Place, { recordTable }: Migrations): string {
  const into = `into ${table(recordTable)} (owner, version, name) values`;
  if (dialect === 'mysql') return `insert ${into} (?, ?, ?) on duplicate key update name = name`;
  return `insert ${into} ${dialect === 'sqlite' ? '(?, ?, ?)' : '($1, $2, $3)'} on conflict do nothing`;
}

/** Values: owner, version. Rows: its name. */
export function selectRecord({ dialect, table }: Place, { recordTable }: Migrations): string {
  const [owner, version] = dialect === 'postgres' ? ['$1', '$2'] : ['?', '?'];
  return `select name from ${table(recordTable)} where owner = ${owner} and version = ${version}`;
}

/** The last version of an owner, 0 if there is none. Value: owner. */
export function selectVersion({ dialect, table }: Place, { recordTable }: Migrations): string {
  return `select coalesce(max(version), 0) as version from ${table(recordTable)} where owner = ${dialect === 'postgres' ? '$1' : '?'}`;
}
