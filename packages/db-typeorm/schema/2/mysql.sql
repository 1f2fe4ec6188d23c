create table stepping_barrier (
  trans_type varchar(45) character set utf8mb4 collate utf8mb4_bin not null,
  gid varchar(128) character set utf8mb4 collate utf8mb4_bin not null,
  branch_id varchar(128) character set utf8mb4 collate utf8mb4_bin not null,
  op varchar(45) character set utf8mb4 collate utf8mb4_bin not null,
  barrier_id varchar(255) character set utf8mb4 collate utf8mb4_bin not null,
  reason varchar(45) character set utf8mb4 collate utf8mb4_bin not null,
  created_at datetime(6) not null default (utc_timestamp(6)),
  primary key (gid, branch_id, op, barrier_id),
  key stepping_barrier_effect (op, created_at)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

create table stepping_migration (
  owner varchar(64) character set utf8mb4 collate utf8mb4_bin not null,
  version int not null,
  name varchar(200) character set utf8mb4 collate utf8mb4_bin not null,
  applied_at datetime(6) not null default (utc_timestamp(6)),
  primary key (owner, version)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;
