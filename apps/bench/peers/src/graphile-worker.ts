import { Logger, makeWorkerUtils, type Runner, run, runMigrations, type TaskList, type WorkerUtils } from 'graphile-worker';
import type { Contestant, Payload } from '../../src/contestant.js';
import type { WorkloadName } from '../../src/measured.js';
import { parts } from './parts.js';

const logger = new Logger(() => () => {});

/** As in its own performance test: jobs fetched ahead, completions in batches. */
const TUNED = {
  concurrentJobs: 24,
  maxPoolSize: 25,
  localQueue: { size: 500, refetchDelay: { durationMs: 10 } },
  completeJobBatchDelay: 0,
  failJobBatchDelay: 0,
};
const UNTUNED = { concurrentJobs: 24, maxPoolSize: 25 };

declare global {
  namespace GraphileWorker {
    interface Tasks {
      only: Payload;
      first: Payload;
      second: Payload;
      third: Payload;
    }
  }
}

function graphileWorker(settingsOf: (workload: WorkloadName) => object): Contestant {
  return {
    create: (connectionString) => runMigrations({ connectionString, logger }),
    async openProducer(connectionString, { callers }) {
      const utils = await makeWorkerUtils({ connectionString, maxPoolSize: callers, logger });
      return {
        enqueue: (args) => utils.addJob('only', args),
        fill: (steps, payloads) => fill(utils, steps === 1 ? 'only' : 'first', payloads),
        // The documented way into one's own transaction is the function of the database.
        enqueueIn: (client, args) =>
          client.query({ name: 'add', text: `select graphile_worker.add_job('only', $1::json)`, values: [JSON.stringify(args)] }),
        close: async () => utils.release(),
      };
    },
    async openWorker(connectionString, { workload, onStep }) {
      // The handler of one step starts the next.
      const taskList: TaskList = {
        only: async (args) => onStep(args),
        first: async (args, { addJob }) => {
          onStep(args);
          await addJob('second', args);
        },
        second: async (args, { addJob }) => {
          onStep(args);
          await addJob('third', args);
        },
        third: async (args) => onStep(args),
      };
      let runner: Runner | undefined;
      return {
        async start() {
          const preset = { worker: { connectionString, logger, ...settingsOf(workload) } };
          runner = await run({ preset, taskList, parsedCronItems: [], noHandleSignals: true });
        },
        close: async () => runner?.stop(),
      };
    },
    unfinishedSql: 'select exists (select from graphile_worker._private_jobs) as unfinished',
  };
}

async function fill(utils: WorkerUtils, identifier: 'only' | 'first', payloads: readonly Payload[]): Promise<void> {
  for (const part of parts(payloads, 1_000)) await utils.addJobs(part.map((payload) => ({ identifier, payload })));
}

export const contestants = {
  tuned: graphileWorker((workload) => {
    if (workload === 'W3' || workload === 'idle') return { concurrentJobs: 10, maxPoolSize: 11 };
    return workload === 'W5' ? { ...TUNED, concurrentJobs: 100, maxPoolSize: 20 } : TUNED;
  }),
  default: graphileWorker(() => UNTUNED),
};
