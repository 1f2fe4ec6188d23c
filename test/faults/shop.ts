import { createStepping, type JobBuilder, type Logger, type Stepping, SteppingError } from '@stepping/core';
import { dtm } from '@stepping/tm-dtm';
import { localTm } from '@stepping/tm-local';
import { hostedProcessor, type ProcessorOptions } from '@stepping/tm-local-hosted-processor';
import type { Books } from './books.js';
import { type StepName, stepsOf, type Todo } from './steps.js';
import { leave } from './trace.js';

export interface ShopOptions {
  /** Whose trace it is. */
  readonly node: string;
  /** The file that all processes of a test leave their trace in. */
  readonly trace: string;
  /** Those that this service has. */
  readonly steps: readonly StepName[];
  /** False: it only starts jobs. */
  readonly processor?: ProcessorOptions | false;
  readonly leaseMs?: number;
  readonly prepareTimeoutMs?: number;
  readonly logger?: Logger;
  /** Its jobs are on this server, and not in a store of the books. */
  readonly dtm?: DtmPlace;
}

/** A DTM server, and where it finds the services that share its jobs. */
export interface DtmPlace {
  readonly serverUrl: string;
  readonly callbackUrl: string;
  readonly secret: string;
}

/** A service on open books: one of several processors, in this process or in others. */
export interface Shop {
  readonly stepping: Stepping;
  /** Places an order whose job has these steps, and says what its caller was told. */
  order(gid: string, plan: Plan): Promise<Told>;
  /** Starts a job that is tied to nothing. */
  start(gid: string, plan: Plan): Promise<Told>;
}

/** Steps of a job, in order; a name alone is a step that has nothing special to do. */
export type Plan = readonly (StepName | readonly [StepName, Todo])[];

/** What the caller of a start was told: done, not done, or that nobody knows. */
export interface Told {
  readonly gid: string;
  readonly kind: 'order' | 'job';
  readonly told: 'yes' | 'no' | 'unknown';
  readonly error?: string;
  readonly plan: Plan;
}

/** DTM counts in whole seconds: the shortest of all its times. */
const DTM_SECONDS = { retryIntervalMs: 1_000, requestTimeoutMs: 1_000, prepareTimeoutMs: 1_000 };

export function openShop(books: Books, options: ShopOptions): Shop {
  const { node, trace, processor = {}, leaseMs, prepareTimeoutMs = 1_000 } = options;
  const all = stepsOf({ node, trace, effect: (context) => books.effect(context) });
  const stepping = createStepping({
    steps: options.steps.map((name) => all[name]),
    tm: options.dtm
      ? dtm({ ...options.dtm, ...DTM_SECONDS })
      : localTm({ store: books.store, processor: processor && hostedProcessor(processor), leaseMs, prepareTimeoutMs }),
    use: [books.database],
    ...(options.logger ? { logger: options.logger } : {}),
  });
  const nowhere = { node, index: -1, step: '', attempt: 0 };
  stepping.on('job.lease-lost', ({ gid }) => leave(trace, { ...nowhere, what: 'lease-lost', gid }));
  stepping.on('step.unrunnable', ({ gid, step }) => leave(trace, { ...nowhere, what: 'unrunnable', gid, step }));
  stepping.on('step.failed', ({ gid, step, stepIndex: index, attempt, error }) =>
    leave(trace, { what: 'fails', node, gid, step, index, attempt, error: String(error).slice(0, 200) }),
  );
  const add = (job: JobBuilder, plan: Plan) => {
    for (const [name, todo] of plan.map((entry) => (typeof entry === 'string' ? ([entry, {}] as const) : entry)))
      job.addStep(all[name], todo);
  };
  const tell = async (kind: Told['kind'], gid: string, plan: Plan, work: () => Promise<unknown>): Promise<Told> => {
    try {
      await work();
      return { kind, gid, plan, told: 'yes' };
    } catch (error) {
      return { kind, gid, plan, told: isUnknown(error) ? 'unknown' : 'no', error: String(error) };
    }
  };
  return {
    stepping: stepping as Stepping,
    order: (gid, plan) => tell('order', gid, plan, () => books.order(stepping as Stepping, gid, (job) => add(job, plan))),
    start: (gid, plan) =>
      tell('job', gid, plan, () => {
        const job = stepping.createJob({ gid });
        add(job, plan);
        return job.start();
      }),
  };
}

function isUnknown(error: unknown): boolean {
  return SteppingError.is(error, 'COMMIT_OUTCOME_UNKNOWN') || SteppingError.is(error, 'START_OUTCOME_UNKNOWN');
}
