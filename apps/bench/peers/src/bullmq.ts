import { createPostgresBackend, type Job, Queue, runMigrations, Worker } from 'bullmq';
import { Redis } from 'ioredis';
import pg from 'pg';
import type { Contestant, Payload, Producer } from '../../src/contestant.js';
import type { WorkloadName } from '../../src/measured.js';
import { parts } from './parts.js';

const QUEUE = 'bench';

type StepPayload = Payload & { readonly step?: number };

/** Found by trying: see the README. */
function concurrencyOf(workload: WorkloadName): number {
  if (workload === 'W3' || workload === 'idle') return 10;
  return workload === 'W5' ? 100 : 50;
}

interface RedisOptions {
  /** Redis forgets what it has not written to its file yet; `always` is what a commit of a database is. */
  readonly appendFsync?: 'always';
  /** The handler of one step adds the next one's job, in place of one job that notes its step. */
  readonly chain?: boolean;
}

function onRedis({ appendFsync, chain = false }: RedisOptions): Contestant {
  return {
    async create(url) {
      const redis = connect(url);
      await redis.flushall();
      await redis.config('SET', 'appendonly', appendFsync === undefined ? 'no' : 'yes');
      await redis.config('SET', 'appendfsync', appendFsync ?? 'everysec');
      await redis.quit();
    },
    async openProducer(url) {
      const connection = connect(url);
      const queue = new Queue(QUEUE, { connection });
      await queue.waitUntilReady();
      return producer(queue, async () => {
        await queue.close();
        connection.disconnect();
      });
    },
    async openWorker(url, { workload, onStep }) {
      const connection = connect(url);
      const queue = new Queue<StepPayload>(QUEUE, { connection });
      const process = chain ? chained(onStep, queue) : stepping(onStep);
      const worker = new Worker(QUEUE, process, { connection, concurrency: concurrencyOf(workload), autorun: false });
      worker.on('error', (error) => console.error('bullmq', error.message));
      await worker.waitUntilReady();
      const look = connect(url);
      return {
        start: async () => void worker.run(),
        async hasUnfinished() {
          const key = (state: string) => `bull:${QUEUE}:${state}`;
          const lists = await Promise.all(['wait', 'active'].map((state) => look.llen(key(state))));
          const sets = await Promise.all(['delayed', 'prioritized'].map((state) => look.zcard(key(state))));
          return [...lists, ...sets].some((length) => length > 0);
        },
        async close() {
          await worker.close(true);
          for (const one of [connection, look]) one.disconnect();
        },
      };
    },
  };
}

/** The same interface on tables: `createPostgresBackend`. */
const onPostgres: Contestant = {
  async create(connectionString) {
    const client = new pg.Client({ connectionString });
    await client.connect();
    await runMigrations(client);
    await client.end();
  },
  async openProducer(connectionString, { callers }) {
    const queue = new Queue(QUEUE, { connection: { connectionString, max: callers } }, createPostgresBackend);
    await queue.waitUntilReady();
    return producer(queue, () => queue.close());
  },
  async openWorker(connectionString, { workload, onStep }) {
    const concurrency = workload === 'W3' || workload === 'idle' ? 10 : 50;
    const connection = { connectionString, max: Math.min(concurrency, 16) };
    const worker = new Worker(QUEUE, stepping(onStep), { connection, concurrency, autorun: false }, createPostgresBackend);
    worker.on('error', (error) => console.error('bullmq', error.message));
    await worker.waitUntilReady();
    return {
      start: async () => void worker.run(),
      close: () => Promise.race([worker.close(true), new Promise((resolve) => setTimeout(resolve, 3_000))]),
    };
  },
  unfinishedSql: `select exists (select from bullmq.job where queue = '${QUEUE}' and state in ('waiting', 'active', 'delayed')) as unfinished`,
};

/** The pattern of its documentation: one job, which notes its step after each. */
function stepping(onStep: (args: Payload) => void) {
  return async (job: Job<StepPayload>) => {
    let { step } = job.data;
    if (step === undefined) return onStep(job.data);
    while (step <= 3) {
      onStep(job.data);
      step += 1;
      await job.updateData({ ...job.data, step });
    }
  };
}

function chained(onStep: (args: Payload) => void, queue: Queue<StepPayload>) {
  return async ({ data }: Job<StepPayload>) => {
    onStep(data);
    if (data.step !== undefined && data.step < 3) await queue.add('job', { ...data, step: data.step + 1 });
  };
}

function producer(queue: Pick<Queue, 'add' | 'addBulk'>, close: () => Promise<void>): Producer {
  return {
    enqueue: (args) => queue.add('job', args),
    async fill(steps, payloads) {
      for (const part of parts(payloads, 1_000)) {
        await queue.addBulk(part.map((args) => ({ name: 'job', data: steps === 1 ? args : { ...args, step: 1 } })));
      }
    },
    close,
  };
}

function connect(url: string): Redis {
  return new Redis(url, { maxRetriesPerRequest: null });
}

export const contestants = {
  redis: onRedis({}),
  chain: onRedis({ chain: true }),
  always: onRedis({ appendFsync: 'always' }),
  postgres: onPostgres,
};
