import type { DataSource } from 'typeorm';

/** All that a SQLite file says of its schema. */
export async function dumpSqlite(dataSource: DataSource): Promise<string> {
  const rows: { sql: string }[] = await dataSource.query(
    `select sql from sqlite_master where sql is not null and name not like 'sqlite_%' order by tbl_name, type desc, name`,
  );
  return rows.map(({ sql }) => `${sql};\n`).join('\n');
}

/** Tables, keys and indexes of the schema `public`, as the server describes them. */
export async function dumpPostgres(dataSource: DataSource): Promise<string> {
  const tables: { definition: string }[] = await dataSource.query(TABLES);
  const indexes: { definition: string }[] = await dataSource.query(INDEXES);
  return [...tables, ...indexes].map(({ definition }) => `${definition};\n`).join('\n');
}

const TABLES = `
  select 'create table ' || c.relname || e' (\\n' || string_agg(
      '  ' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
        || case when co.collname is not null and co.collname <> 'default' then ' collate "' || co.collname || '"' else '' end
        || case when d.oid is not null then ' default ' || pg_get_expr(d.adbin, d.adrelid) else '' end
        || case when a.attnotnull then ' not null' else '' end,
      e',\\n' order by a.attnum)
    || e'\\n)' || coalesce(' with (' || array_to_string(c.reloptions, ', ') || ')', '') as definition
  from pg_class c
  join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
  left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
  left join pg_collation co on co.oid = a.attcollation
  where c.relnamespace = 'public'::regnamespace and c.relkind = 'r'
  group by c.oid, c.relname, c.reloptions
  order by c.relname`;

const INDEXES = `select indexdef as definition from pg_indexes where schemaname = 'public' order by indexname`;

/** Tables, keys and indexes of the database, as MariaDB and MySQL both can make them again. */
export async function dumpMysql(dataSource: DataSource): Promise<string> {
  const columns: MysqlColumn[] = await dataSource.query(MYSQL_COLUMNS);
  const keys: { of: string; name: string; columns: string }[] = await dataSource.query(MYSQL_KEYS);
  const tables = [...new Set(columns.map(({ of }) => of))];
  const dumped = tables.map((table) => {
    const lines = columns.filter(({ of }) => of === table).map(mysqlColumn);
    for (const key of keys.filter(({ of }) => of === table)) {
      lines.push(`${key.name === 'PRIMARY' ? 'primary key' : `key ${key.name}`} (${key.columns})`);
    }
    const collation = columns.find(({ of }) => of === table)?.preset_collation;
    return `create table ${table} (\n  ${lines.join(',\n  ')}\n) engine = InnoDB default character set utf8mb4 collate ${collation};\n`;
  });
  return dumped.join('\n');
}

interface MysqlColumn {
  readonly of: string;
  readonly name: string;
  readonly type: string;
  readonly charset: string | null;
  readonly collation: string | null;
  readonly nullable: 'YES' | 'NO';
  readonly preset: string | null;
  readonly preset_collation: string;
}

function mysqlColumn({ name, type, charset, collation, nullable, preset }: MysqlColumn): string {
  const text = collation === null ? '' : ` character set ${charset} collate ${collation}`;
  const value = preset === null || preset === 'NULL' ? '' : ` default (${preset})`;
  return `${name} ${type.replace(/int\(\d+\)/, 'int')}${text}${nullable === 'NO' ? ' not null' : ''}${value}`;
}

const MYSQL_COLUMNS = `
  select c.table_name as 'of', c.column_name as name, c.column_type as type, c.character_set_name as charset, c.collation_name as collation,
         c.is_nullable as nullable, c.column_default as preset, t.table_collation as preset_collation
  from information_schema.columns c join information_schema.tables t on t.table_schema = c.table_schema and t.table_name = c.table_name
  where c.table_schema = database() order by c.table_name, c.ordinal_position`;

const MYSQL_KEYS = `
  select table_name as 'of', index_name as name, group_concat(column_name order by seq_in_index separator ', ') as columns
  from information_schema.statistics where table_schema = database() group by table_name, index_name order by table_name, index_name <> 'PRIMARY', index_name`;
