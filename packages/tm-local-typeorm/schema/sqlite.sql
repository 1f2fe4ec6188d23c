CREATE TABLE "stepping_job" (
  id integer primary key,
  gid text not null unique,
  lease integer not null,
  due_at integer,
  created_at integer not null,
  finished_at integer,
  step integer not null,
  attempt integer not null,
  status integer not null,
  held integer not null,
  instance text not null,
  queue text not null,
  tenant text,
  db text,
  last_error text,
  steps text not null
, barrier_dbs text) strict;

CREATE INDEX "stepping_job_due" on "stepping_job" (queue, due_at) where due_at is not null;

CREATE INDEX "stepping_job_failed" on "stepping_job" (gid) where status = 4;

CREATE INDEX "stepping_job_prepared" on "stepping_job" (created_at) where status = 0;

CREATE TABLE "stepping_migration" (owner text not null, version integer not null, name text not null, applied_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), primary key (owner, version));
