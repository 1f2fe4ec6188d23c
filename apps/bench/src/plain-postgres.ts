import pg from 'pg';
import type { Contestant } from './contestant.js';
import { GroupWriter } from './group-writer.js';
import { type PlainJob, runPlainLoop } from './plain-loop.js';

/** Batches of progress in flight at once. */
const LANES = 2;
const MAX_BATCH = 1_000;

const CREATE = `
  create table job (id bigint generated always as identity primary key, state smallint not null default 0, step smallint not null default 0, steps text not null) with (fillfactor = 50);
  create index job_ready on job (id) where state = 0`;
const INSERT = { name: 'insert', text: 'insert into job (steps) select unnest($1::text[])' };
const CLAIM = {
  name: 'claim',
  text: `update job set state = 1 where id = any(array(select id from job where state = 0 order by id limit $1 for update skip locked)) returning id, steps`,
};
const SAVE = {
  name: 'save',
  text: `update job j set step = v.step, state = v.state from unnest($1::bigint[], $2::smallint[], $3::smallint[]) v(id, step, state) where j.id = v.id`,
};

/** Loops of `pg`: the ceiling. The same writes in the same groups, and nothing else: no fences, retries, leases or idempotent starts. */
export const plainPostgres: Contestant = {
  async create(database) {
    const client = await connect(database);
    await client.query(CREATE);
    await client.end();
  },
  async openProducer(database) {
    const client = await connect(database);
    const writer = new GroupWriter<string>((steps) => send(client, INSERT, [steps]), { lanes: 1, maxBatch: MAX_BATCH });
    return {
      enqueue: (count, args) => writer.add(JSON.stringify(Array.from({ length: count }, () => args))),
      close: () => client.end(),
    };
  },
  async openWorker(database, onStep) {
    const claimer = await connect(database);
    const savers = await Promise.all(Array.from({ length: LANES }, () => connect(database)));
    const free = [...savers];
    const save = async (batch: readonly (readonly [PlainJob, number])[]) => {
      const client = free.pop() as pg.Client;
      const ids = batch.map(([job]) => job.id);
      const done = batch.map(([, stepsDone]) => stepsDone);
      const states = batch.map(([job, stepsDone]) => (stepsDone === job.steps.length ? 2 : 1));
      await send(client, SAVE, [ids, done, states]);
      free.push(client);
    };
    const writer = new GroupWriter(save, { lanes: LANES, maxBatch: MAX_BATCH });
    const stop = runPlainLoop(
      {
        async claim(limit) {
          const { rows } = await claimer.query({ ...CLAIM, values: [limit] });
          return rows.map(({ id, steps }) => ({ id, steps: JSON.parse(steps) }));
        },
        saveProgress: (job, stepsDone) => writer.add([job, stepsDone]),
      },
      async () => onStep(),
    );
    return {
      hasUnfinished: async () => (await claimer.query('select exists (select from job where state <> 2) as unfinished')).rows[0].unfinished,
      async close() {
        await stop();
        await Promise.all([claimer, ...savers].map((client) => client.end()));
      },
    };
  },
};

async function connect(connectionString: string): Promise<pg.Client> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  await client.query('set plan_cache_mode = force_generic_plan');
  return client;
}

async function send(client: pg.Client, statement: { name: string; text: string }, values: unknown[]): Promise<void> {
  await client.query({ ...statement, values });
}
