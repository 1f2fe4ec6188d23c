import { type DtmServerProcess, startDtm, testService } from '@stepping/test-services';
import { createConnection } from 'mysql2/promise';

/** The tables that DTM wants in MySQL: its server makes none. Sizes as its own documentation has them. */
const TABLES = [
  `create table trans_global (
     id bigint not null auto_increment primary key, gid varchar(128) not null unique, trans_type varchar(45) not null, status varchar(12) not null,
     query_prepared varchar(1024) not null, protocol varchar(45) not null, create_time datetime, update_time datetime, finish_time datetime,
     rollback_time datetime, options varchar(1024) default '', custom_data varchar(1024) default '', next_cron_interval int, next_cron_time datetime,
     owner varchar(128) not null default '', ext_data text, result varchar(1024) default '', rollback_reason varchar(1024) default '',
     key (owner), key (status, next_cron_time)) default charset utf8mb4`,
  `create table trans_branch_op (
     id bigint not null auto_increment primary key, gid varchar(128) not null, url varchar(1024) not null, data text, bin_data blob,
     branch_id varchar(128) not null, op varchar(45) not null, status varchar(45) not null, finish_time datetime, rollback_time datetime,
     create_time datetime, update_time datetime, unique (gid, branch_id, op)) default charset utf8mb4`,
  `create table kv (
     id bigint not null auto_increment primary key, cat varchar(45) not null, k varchar(128) not null, v text, version bigint default 1,
     create_time datetime, update_time datetime, unique (cat, k)) default charset utf8mb4`,
];

/** A DTM server whose messages are in tables. To be called where both are there. */
export async function startDtmInMariadb(): Promise<DtmServerProcess> {
  const mariadb = await testService('mariadb');
  const url = new URL(await mariadb.database());
  const connection = await createConnection(url.href);
  for (const table of TABLES) await connection.query(table);
  await connection.end();
  return startDtm({
    env: {
      STORE_DRIVER: 'mysql',
      STORE_HOST: url.hostname,
      STORE_PORT: url.port,
      STORE_USER: decodeURIComponent(url.username),
      STORE_PASSWORD: decodeURIComponent(url.password),
      STORE_DB: url.pathname.slice(1),
    },
  });
}
