create table stepping_barrier (
  trans_type text collate "C" not null,
  gid text collate "C" not null,
  branch_id text collate "C" not null,
  op text collate "C" not null,
  barrier_id text collate "C" not null,
  reason text collate "C" not null,
  created_at timestamp with time zone default clock_timestamp() not null
);

create table stepping_migration (
  owner text not null,
  version integer not null,
  name text not null,
  applied_at timestamp with time zone default now() not null
);

CREATE INDEX stepping_barrier_effect ON public.stepping_barrier USING btree (op, created_at) WHERE (op <> 'msg'::text);

CREATE UNIQUE INDEX stepping_barrier_pkey ON public.stepping_barrier USING btree (gid, branch_id, op, barrier_id);

CREATE UNIQUE INDEX stepping_migration_pkey ON public.stepping_migration USING btree (owner, version);
