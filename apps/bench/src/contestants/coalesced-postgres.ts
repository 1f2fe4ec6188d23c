import pg from 'pg';
import type { Contestant, Payload, WorkerOptions } from '../contestant.js';

/** Jobs between their claim and their end. */
const IN_FLIGHT = 1_000;
const CLAIM = 500;
/** Between two claims that found nothing. Unit: ms. */
const IDLE_MS = 5;

const CREATE = `
  create table job (id bigint generated always as identity primary key, kind text not null, payload jsonb not null, state smallint not null default 0,
    run_at timestamptz not null default now(), attempts int not null default 0, locked_by text, locked_at timestamptz);
  create index job_ready on job (id) where state = 0;
  create table step (job_id bigint not null, n smallint not null, output jsonb, at timestamptz not null default now(), primary key (job_id, n))`;
const INSERT = 'insert into job (kind, payload) select $1, unnest($2::jsonb[])';
const CLAIM_JOBS = {
  name: 'claim',
  text: `with c as (select id from job where state = 0 order by id limit $1 for update skip locked)
    update job j set state = 1, locked_by = 'w', locked_at = now(), attempts = attempts + 1 from c where j.id = c.id returning j.id, j.payload`,
};
const INSERT_STEPS = {
  name: 'steps',
  text: `insert into step (job_id, n, output) select unnest($1::bigint[]), unnest($2::smallint[]), '{"ok":true}'::jsonb`,
};
const DELETE = { name: 'delete', text: 'delete from job where id = any($1::bigint[])' };

interface Job {
  readonly id: string;
  readonly payload: Payload;
}

/**
 * The ceiling that Stepping's bar is measured by: one connection claims and one writes. A job waits for the row of each step before it begins the next, and is deleted at the end; what all
 * jobs want written meanwhile goes as one statement.
 */
export const coalescedPostgres: Contestant = {
  async create(database) {
    const client = await connect(database);
    await client.query(CREATE);
    await client.end();
  },
  async openProducer(database) {
    const client = await connect(database);
    return {
      async fill(_steps, payloads) {
        for (let i = 0; i < payloads.length; i += 5_000) {
          await client.query(INSERT, ['job', payloads.slice(i, i + 5_000).map((args) => JSON.stringify(args))]);
        }
      },
      close: () => client.end(),
    };
  },
  async openWorker(database, { onStep }) {
    const [claimer, writer] = [await connect(database), await connect(database)];
    let stop = async () => {};
    return {
      async start() {
        stop = runJobs(claimer, writer, onStep);
      },
      async close() {
        await stop();
        await Promise.all([claimer.end(), writer.end()]);
      },
    };
  },
  unfinishedSql: 'select exists (select from job) as unfinished',
};

/** Returns what ends it. */
function runJobs(claimer: pg.Client, writer: pg.Client, onStep: WorkerOptions['onStep']): () => Promise<void> {
  const writeStep = coalesce<{ id: string; n: number }>((rows) =>
    writer.query({ ...INSERT_STEPS, values: [rows.map(({ id }) => id), rows.map(({ n }) => n)] }),
  );
  const finish = coalesce<string>((ids) => writer.query({ ...DELETE, values: [ids] }));
  const buffer: Job[] = [];
  let stopped = false;
  let claiming: Promise<void> | undefined;

  const claim = async () => {
    const { rows } = await claimer.query<Job>({ ...CLAIM_JOBS, values: [CLAIM] });
    buffer.push(...rows);
    if (rows.length === 0) await new Promise((resolve) => setTimeout(resolve, IDLE_MS));
    claiming = undefined;
  };
  const loop = async () => {
    while (!stopped) {
      const job = buffer.shift();
      if (job === undefined) {
        claiming ??= claim();
        await claiming;
        continue;
      }
      for (let n = 1; n <= 3; n++) {
        onStep(job.payload);
        await writeStep({ id: job.id, n });
      }
      await finish(job.id);
    }
  };
  const ended = Promise.all(Array.from({ length: IN_FLIGHT }, loop));
  return async () => {
    stopped = true;
    await ended;
  };
}

/** What is wanted while a write is on its way goes together as the next one. */
function coalesce<T>(write: (items: readonly T[]) => Promise<unknown>): (item: T) => Promise<void> {
  let waiting: { readonly item: T; readonly resolve: () => void }[] = [];
  let writing = false;
  const flush = async () => {
    writing = true;
    await new Promise((resolve) => setImmediate(resolve));
    while (waiting.length > 0) {
      const batch = waiting;
      waiting = [];
      await write(batch.map(({ item }) => item));
      for (const { resolve } of batch) resolve();
    }
    writing = false;
  };
  return (item) =>
    new Promise((resolve) => {
      waiting.push({ item, resolve });
      if (!writing) void flush();
    });
}

async function connect(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  return client;
}
