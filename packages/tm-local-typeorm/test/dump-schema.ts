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
