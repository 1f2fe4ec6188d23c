import { randomUUID } from 'node:crypto';
import pg from 'pg';
import type { Contestant, Payload, Producer, WorkerOptions } from '../contestant.js';
import { INSERT_ORDER } from '../orders.js';
import { coalescedPostgres } from './coalesced-postgres.js';
import { GroupWriter } from './group-writer.js';
import { type PlainJob, type PlainWrites, runPlainLoop } from './plain-loop.js';

/** Batches of progress in flight at once. */
const LANES = 2;
const MAX_BATCH = 1_000;

const CREATE = `
  create table job (id bigint generated always as identity primary key, state smallint not null default 0, step smallint not null default 0, steps text not null) with (fillfactor = 50);
  create index job_ready on job (id) where state = 0;
  create table job_step (job_id bigint not null, n smallint not null, output jsonb, at timestamptz not null default now(), primary key (job_id, n))`;
const INSERT_ONE = { name: 'insert_one', text: 'insert into job (steps) values ($1)' };
const INSERT = { name: 'insert', text: 'insert into job (steps) select unnest($1::text[])' };
const CLAIM = {
  name: 'claim',
  text: 'update job set state = 1 where id = any(array(select id from job where state = 0 order by id limit $1 for update skip locked)) returning id, steps',
};
const SAVE = {
  name: 'save',
  text: 'update job j set step = v.step, state = v.state from unnest($1::bigint[], $2::smallint[], $3::smallint[]) v(id, step, state) where j.id = v.id',
};
const INSERT_STEPS = {
  name: 'insert_steps',
  text: `insert into job_step (job_id, n, output) select unnest($1::bigint[]), unnest($2::smallint[]), '{"ok":true}'::jsonb`,
};
const DELETE = { name: 'delete', text: 'delete from job where id = any($1::bigint[])' };
const TAKE = {
  name: 'take',
  text: 'delete from job where id = any(array(select id from job where state = 0 order by id limit $1 for update skip locked)) returning steps',
};
const WITH_ORDER = {
  name: 'with_order',
  text: 'with o as (insert into bench_order (customer, amount) values ($1, $2) returning id) insert into job (steps) select $3 from o',
};
const UNFINISHED = 'select exists (select from job where state <> 2) as unfinished';

/** In W7's other database: the rows that a two-phase start writes, of the same sizes. */
const CREATE_TWO_PHASE_ROWS = `
  create table if not exists barrier (gid text not null, branch text not null, op text not null, number text not null, reason text not null, created_at timestamptz not null default now(), primary key (gid, branch, op, number));
  create table if not exists tied_job (gid text primary key, due_at timestamptz default now(), steps text not null)`;
const INSERT_BARRIER = {
  name: 'barrier',
  text: `insert into barrier (gid, branch, op, number, reason) values ($1, '00', 'msg', $2, 'msg')`,
};
const INSERT_TIED = { name: 'tied', text: 'insert into tied_job (gid, steps) values ($1, $2)' };

type Place = (pool: pg.Pool, order: readonly [string, number], args: Payload) => Promise<unknown>;
type Start = (database: string, onStep: WorkerOptions['onStep']) => Promise<{ stop: () => Promise<void>; clients: readonly pg.Client[] }>;

/** What plain `pg` reaches: no fences, retries, leases or idempotent starts. */
function plainPostgres({ grouped = true, place, start }: { grouped?: boolean; place?: Place; start?: Start }): Contestant {
  return {
    async create(database) {
      const client = await connect(database);
      await client.query(CREATE);
      await client.end();
    },
    async openProducer(database, { callers, orders }) {
      const jobs = new pg.Pool({ connectionString: database, max: callers });
      const ordersPool = new pg.Pool({ connectionString: orders, max: callers });
      if (place === sameRows) await ordersPool.query(CREATE_TWO_PHASE_ROWS);
      const one = await connect(database);
      const writer = new GroupWriter<string>((list) => send(one, INSERT, [list]), { lanes: 1, maxBatch: MAX_BATCH });
      const producer: Producer = {
        enqueue: (args) => (grouped ? writer.add(steps(1, args)) : jobs.query({ ...INSERT_ONE, values: [steps(1, args)] })),
        async fill(count, payloads) {
          await Promise.all(payloads.map((args) => writer.add(steps(count, args))));
        },
        enqueueIn: (client, args) => client.query({ ...INSERT_ONE, values: [steps(1, args)] }),
        close: () => Promise.all([jobs.end(), ordersPool.end(), one.end()]),
      };
      return place === undefined
        ? producer
        : { ...producer, placeOrder: ({ customer, amount }, args) => place(ordersPool, [customer, amount], args) };
    },
    ...(start && {
      async openWorker(database, { onStep }) {
        let running: Awaited<ReturnType<Start>> | undefined;
        return {
          async start() {
            running = await start(database, onStep);
          },
          async close() {
            await running?.stop();
            await Promise.all((running?.clients ?? []).map((client) => client.end()));
          },
        };
      },
      unfinishedSql: UNFINISHED,
    }),
  };
}

/** Business row alone. */
const bare: Place = (pool, order) => inTransaction(pool, (client) => client.query({ ...INSERT_ORDER, values: [...order] }));

/** Business row, barrier and job: what a two-phase start writes, in one transaction. */
const sameRows: Place = (pool, order, args) =>
  inTransaction(pool, async (client) => {
    const gid = randomUUID();
    await client.query({ ...INSERT_ORDER, values: [...order] });
    await client.query({ ...INSERT_BARRIER, values: [gid, randomUUID()] });
    await client.query({ ...INSERT_TIED, values: [gid, steps(1, args)] });
  });

/** Business row and job in one statement. */
const oneStatement: Place = (pool, order, args) => pool.query({ ...WITH_ORDER, values: [...order, steps(1, args)] });

async function inTransaction(pool: pg.Pool, work: (client: pg.PoolClient) => Promise<unknown>): Promise<void> {
  const client = await pool.connect();
  try {
    await client.query('begin');
    await work(client);
    await client.query('commit');
  } finally {
    client.release();
  }
}

/** The same writes in the same groups as Stepping's, finished jobs kept. */
const kept: Start = (database, onStep) =>
  looped(database, onStep, (send) => async (batch) => {
    const ids = batch.map(([job]) => job.id);
    const done = batch.map(([, stepsDone]) => stepsDone);
    await send(SAVE, [ids, done, batch.map(([job, stepsDone]) => (stepsDone === job.steps.length ? 2 : 1))]);
  });

type Save = (batch: readonly (readonly [PlainJob, number])[]) => Promise<void>;
type SendOn = (statement: { name: string; text: string }, values: unknown[]) => Promise<void>;

async function looped(database: string, onStep: WorkerOptions['onStep'], saveBy: (send: SendOn) => Save) {
  const claimer = await connect(database);
  const savers = await Promise.all(Array.from({ length: LANES }, () => connect(database)));
  const free = [...savers];
  const save: Save = async (batch) => {
    const client = free.pop() as pg.Client;
    await saveBy((statement, values) => send(client, statement, values))(batch);
    free.push(client);
  };
  const writer = new GroupWriter(save, { lanes: LANES, maxBatch: MAX_BATCH });
  const writes: PlainWrites = {
    claim: (limit) => claim(claimer, limit),
    saveProgress: (job, stepsDone) => writer.add([job, stepsDone]),
  };
  return { stop: runPlainLoop(writes, async (args) => onStep(args)), clients: [claimer, ...savers] };
}

/** So many jobs are claimed, all their first steps done, and so on: nobody waits for anybody's own commit. */
const batched =
  (size: number, connections: number): Start =>
  async (database, onStep) =>
    loops(database, connections, async (client) => {
      const jobs = await claim(client, size);
      const ids = jobs.map(({ id }) => id);
      for (let n = 1; n <= (jobs[0]?.steps.length ?? 0); n++) {
        for (const job of jobs) onStep(job.steps[n - 1] as Payload);
        await send(client, INSERT_STEPS, [ids, ids.map(() => n)]);
      }
      if (jobs.length > 0) await send(client, DELETE, [ids]);
      return jobs.length > 0;
    });

/** The least that an at-least-once queue does when handlers run outside of its transaction. */
const claimed: Start = (database, onStep) =>
  loops(database, 4, async (client) => {
    const jobs = await claim(client, 100);
    for (const job of jobs) onStep(job.steps[0] as Payload);
    if (jobs.length > 0) await send(client, DELETE, [jobs.map(({ id }) => id)]);
    return jobs.length > 0;
  });

/** Deleted and then run: lost in a crash. */
const taken: Start = (database, onStep) =>
  loops(database, 1, async (client) => {
    const { rows } = await client.query({ ...TAKE, values: [100] });
    for (const { steps } of rows) onStep(JSON.parse(steps)[0]);
    return rows.length > 0;
  });

/** Every step of every job a commit of its own. */
const stepCommit: Start = (database, onStep) =>
  loops(database, 16, async (client) => {
    const jobs = await claim(client, 10);
    for (const { id, steps } of jobs) {
      for (const [i, args] of steps.entries()) {
        onStep(args);
        await send(client, INSERT_STEPS, [[id], [i + 1]]);
      }
      await send(client, DELETE, [[id]]);
    }
    return jobs.length > 0;
  });

/** So many connections, each going round until it is stopped. */
async function loops(database: string, connections: number, round: (client: pg.Client) => Promise<boolean>) {
  const clients = await Promise.all(Array.from({ length: connections }, () => connect(database)));
  let stopped = false;
  const ended = Promise.all(
    clients.map(async (client) => {
      while (!stopped) if (!(await round(client))) await new Promise((resolve) => setTimeout(resolve, 5));
    }),
  );
  const stop = async () => {
    stopped = true;
    await ended;
  };
  return { stop, clients };
}

async function claim(client: pg.Client, limit: number): Promise<PlainJob[]> {
  const { rows } = await client.query({ ...CLAIM, values: [limit] });
  return rows.map(({ id, steps }) => ({ id, steps: JSON.parse(steps) }));
}

async function connect(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  await client.query('set plan_cache_mode = force_generic_plan');
  return client;
}

async function send(client: pg.Client, statement: { name: string; text: string }, values: unknown[]): Promise<void> {
  await client.query({ ...statement, values });
}

function steps(count: number, args: Payload): string {
  return JSON.stringify(Array.from({ length: count }, () => args));
}

export const contestants = {
  single: plainPostgres({ grouped: false }),
  grouped: plainPostgres({}),
  cte: plainPostgres({ place: oneStatement }),
  kept: plainPostgres({ start: kept }),
  coalesced: coalescedPostgres,
  batched: plainPostgres({ start: batched(100, 2) }),
  stepcommit: plainPostgres({ start: stepCommit }),
  claimed: plainPostgres({ start: claimed }),
  taken: plainPostgres({ start: taken }),
  bare: plainPostgres({ place: bare }),
  rows: plainPostgres({ place: sameRows }),
};
