create table stepping_job (
  gid text collate "C" not null,
  lease bigint not null,
  due_at timestamp with time zone,
  created_at timestamp with time zone not null,
  finished_at timestamp with time zone,
  step integer not null,
  attempt integer not null,
  status smallint not null,
  held smallint not null,
  instance text collate "C" not null,
  queue text collate "C" not null,
  tenant text,
  db text,
  last_error text,
  steps text not null,
  barrier_dbs text
) with (fillfactor=50);

create table stepping_migration (
  owner text not null,
  version integer not null,
  name text not null,
  applied_at timestamp with time zone default now() not null
);

CREATE INDEX stepping_job_due ON public.stepping_job USING btree (queue, due_at) WHERE (due_at IS NOT NULL);

CREATE INDEX stepping_job_failed ON public.stepping_job USING btree (gid) WHERE (status = 4);

CREATE UNIQUE INDEX stepping_job_pkey ON public.stepping_job USING btree (gid);

CREATE INDEX stepping_job_prepared ON public.stepping_job USING btree (created_at) WHERE (status = 0);

CREATE UNIQUE INDEX stepping_migration_pkey ON public.stepping_migration USING btree (owner, version);
