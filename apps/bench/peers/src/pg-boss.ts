import { type ConstructorOptions, type Job, PgBoss } from 'pg-boss';
import type { Contestant, Payload } from '../../src/contestant.js';
import type { WorkloadName } from '../../src/measured.js';
import { parts } from './parts.js';

const QUEUE = 'bench';

type StepPayload = Payload & { readonly step?: number };

interface Settings {
  /** The queue notifies its workers, else they poll every two seconds. */
  readonly notify?: boolean;
  readonly work: object;
}

const BATCHES = { localConcurrency: 2, burstWhenBatchFull: true };
/** Found by trying: see the README. */
const TUNED: Partial<Record<WorkloadName, Settings>> = {
  W2: { work: { ...BATCHES, batchSize: 2_000 } },
  W6: { work: { ...BATCHES, batchSize: 2_000 } },
  W3: { notify: true, work: {} },
  idle: { notify: true, work: {} },
  W5: { notify: true, work: { ...BATCHES, batchSize: 500, transactional: true } },
};
const PLAIN: Settings = { work: {} };

/** The worker of three-step jobs takes a batch, starts the next steps and completes the batch; `transactional: true` makes one transaction of it. */
function pgBoss(settingsOf: (workload: WorkloadName) => Settings): Contestant {
  return {
    async create(url, { workload }) {
      const boss = await open(url, { supervise: false, schedule: false });
      await boss.createQueue(QUEUE, { notify: settingsOf(workload).notify === true });
      await boss.stop({ graceful: false });
    },
    async openProducer(url, { callers }) {
      const boss = await open(url, { max: callers, supervise: false, schedule: false });
      return {
        enqueue: (args) => boss.send(QUEUE, args),
        async fill(steps, payloads) {
          for (const part of parts(payloads, 2_000)) {
            await boss.insert(
              QUEUE,
              part.map((data) => ({ data: steps === 1 ? data : { ...data, step: 1 } })),
            );
          }
        },
        enqueueIn: (client, args) =>
          boss.send(QUEUE, args, { db: { executeSql: (text: string, values?: unknown[]) => client.query(text, values) } }),
        close: () => boss.stop({ graceful: false }),
      };
    },
    async openWorker(url, { workload, onStep }) {
      const { notify, work } = settingsOf(workload);
      const boss = await open(url, { max: 10, useListenNotify: notify === true });
      const handler = async (jobs: Job<StepPayload>[], transaction?: any) => {
        for (const { data } of jobs) onStep(data);
        const next = jobs.filter(({ data }) => data.step !== undefined && data.step < 3);
        if (next.length === 0) return;
        const inserts = next.map(({ data }) => ({ data: { ...data, step: (data.step ?? 0) + 1 } }));
        await boss.insert(QUEUE, inserts, 'transactional' in work ? { db: transaction } : undefined);
      };
      return {
        start: () => boss.work<StepPayload>(QUEUE, work, handler),
        close: () => boss.stop({ graceful: false }),
      };
    },
    unfinishedSql: `select exists (select from pgboss.job where name = '${QUEUE}' and state < 'completed') as unfinished`,
  };
}

async function open(connectionString: string, options: ConstructorOptions): Promise<PgBoss> {
  const boss = new PgBoss({ connectionString, ...options });
  boss.on('error', (error) => console.error('pg-boss', error.message));
  await boss.start();
  return boss;
}

export const contestants = {
  tuned: pgBoss((workload) => TUNED[workload] ?? PLAIN),
  poll: pgBoss(() => PLAIN),
  /** Next steps inserted, then the batch completed: not atomic. */
  nontx: pgBoss(() => ({ notify: true, work: { ...BATCHES, batchSize: 500 } })),
};
