import { DBOS, DBOSClient } from '@dbos-inc/dbos-sdk';
import type { Contestant, Payload, WorkerOptions } from '../../src/contestant.js';
import { atOnce } from './parts.js';

const QUEUE = 'bench';
const APP = 'bench';
const VERSION = 'bench-1';

interface Settings {
  readonly pool: number;
  /** Undefined: polls every second, one workflow after another is dispatched at that pace. */
  readonly queue?: { readonly workerConcurrency?: number; readonly minPollingIntervalMs: number };
}

/** Found by trying: see the README. */
const TUNED: Settings = { pool: 20, queue: { workerConcurrency: 200, minPollingIntervalMs: 20 } };
const FAST_POLL: Settings = { pool: 10, queue: { minPollingIntervalMs: 10 } };
/** Workflows at once of the one that has no queue. */
const DIRECT = 16;

/** Workflows that a queue hands out, started by a DBOSClient of another process. */
function dbos(settings: Settings, { direct = false } = {}): Contestant {
  return {
    create: (url) => DBOS.migrate(url),
    async openProducer(url, { callers }) {
      const client = await DBOSClient.create({
        systemDatabaseUrl: url,
        systemDatabasePoolSize: Math.min(callers, 16),
        applicationName: APP,
      });
      const to = (workflowName: string) => ({ queueName: QUEUE, workflowName, appVersion: VERSION });
      return {
        enqueue: (args) => client.enqueue(to('one'), args),
        fill: (steps, payloads) =>
          direct ? Promise.resolve() : atOnce(16, payloads, (args) => client.enqueue(to(steps === 1 ? 'one' : 'three'), args)),
        enqueueIn: (pgClient, args) => client.enqueueInTransaction(pgClient as any, to('one'), args),
        close: () => client.destroy(),
      };
    },
    async openWorker(url, options) {
      const { index } = options;
      DBOS.setConfig({
        name: APP,
        systemDatabaseUrl: url,
        systemDatabasePoolSize: settings.pool,
        logLevel: 'error',
        applicationVersion: VERSION,
        executorID: `worker-${index}`,
        listenQueues: direct ? [] : [QUEUE],
      } as Parameters<typeof DBOS.setConfig>[0]);
      const { three } = registerWorkflows(options);
      return {
        async start() {
          await DBOS.launch();
          if (!direct) await DBOS.registerQueue(QUEUE, { ...settings.queue, onConflict: 'always_update' } as any);
          else void startHere(options.jobs, three);
        },
        close: () => DBOS.shutdown(),
      };
    },
    unfinishedSql: `select exists (select from dbos.workflow_status where status in ('ENQUEUED', 'PENDING', 'DELAYED')) as unfinished`,
  };
}

function registerWorkflows({ onStep }: WorkerOptions) {
  const one = DBOS.registerWorkflow(async (args: Payload) => onStep(args), { name: 'one' });
  const step = (args: Payload, name: string) =>
    DBOS.runStep(
      async () => {
        onStep(args);
        return name;
      },
      { name },
    );
  const three = DBOS.registerWorkflow(
    async (args: Payload) => {
      await step(args, 'first');
      await step(args, 'second');
      await step(args, 'third');
    },
    { name: 'three' },
  );
  return { one, three };
}

/** Without a queue the process that starts a workflow runs it; the start is part of the measurement. */
async function startHere(jobs: number, workflow: (args: Payload) => Promise<void>): Promise<void> {
  const payloads = Array.from({ length: jobs }, (_, id): Payload => ({ id, kind: 'bench', note: 'x'.repeat(64) }));
  await atOnce(DIRECT, payloads, async (args) => (await DBOS.startWorkflow(workflow)(args)).getResult());
}

export const contestants = {
  tuned: dbos(TUNED),
  default: dbos({ pool: 10 }),
  fastpoll: dbos(FAST_POLL),
  direct: dbos({ pool: 20 }, { direct: true }),
};
