create table stepping_job (
  gid varchar(128) character set ascii collate ascii_bin not null,
  lease bigint not null,
  due_at datetime(6),
  created_at datetime(6) not null,
  finished_at datetime(6),
  step int not null,
  attempt int not null,
  status tinyint not null,
  held tinyint not null,
  instance varchar(128) character set utf8mb4 collate utf8mb4_bin not null,
  queue varchar(400) character set utf8mb4 collate utf8mb4_bin not null,
  tenant text character set utf8mb4 collate utf8mb4_bin,
  db text character set utf8mb4 collate utf8mb4_bin,
  last_error longtext character set utf8mb4 collate utf8mb4_bin,
  steps longtext character set utf8mb4 collate utf8mb4_bin not null,
  barrier_dbs text character set utf8mb4 collate utf8mb4_bin,
  primary key (gid),
  key stepping_job_due (queue, due_at)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;

create table stepping_migration (
  owner varchar(64) character set utf8mb4 collate utf8mb4_bin not null,
  version int not null,
  name varchar(200) character set utf8mb4 collate utf8mb4_bin not null,
  applied_at datetime(6) not null default (utc_timestamp(6)),
  primary key (owner, version)
) engine = InnoDB default character set utf8mb4 collate utf8mb4_bin;
