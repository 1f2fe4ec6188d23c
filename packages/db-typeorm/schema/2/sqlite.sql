CREATE TABLE "stepping_barrier" (trans_type text not null, gid text not null, branch_id text not null, op text not null, barrier_id text not null, reason text not null, created_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), primary key (gid, branch_id, op, barrier_id));

CREATE INDEX "stepping_barrier_effect" on "stepping_barrier" (op, created_at) where op <> 'msg';

CREATE TABLE "stepping_migration" (owner text not null, version integer not null, name text not null, applied_at text not null default (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), primary key (owner, version));
