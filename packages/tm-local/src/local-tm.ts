import {
  DbProviders,
  Events,
  Log,
  type Resolver,
  SteppingError,
  Steps,
  type TmPlugin,
  type Token,
  TransactionManager,
  token,
} from '@stepping/core';
import { within } from '@stepping/core/db';
import { Clock, systemClock } from './clock.js';
import { type Acknowledged, GroupCommit } from './group-commit.js';
import { JobRun } from './job-run.js';
import { LocalTransactionManager } from './local-transaction-manager.js';
import { LocalOperations } from './operations.js';
import { type ProcessorPlugin, Store, type StorePlugin } from './plugins.js';
import { type LocalProcessor, ProcessorLink } from './processor-link.js';
import { MIN_RETENTION_MS, Purger } from './purge.js';
import { QueryBack, queryBackQueue } from './query-back.js';
import { Slots } from './slots.js';
import { StartGate } from './start-gate.js';
import type { ClaimedJob, Lease, Save, TransactionStore } from './transaction-store.js';
import { UnrunnableBackoff } from './unrunnable-backoff.js';

/** What `localTm` takes. */
export interface LocalTmOptions {
  /** Where the jobs are kept: `typeormStore({ dataSource })`, `memoryStore()`, … */
  store: StorePlugin;
  /** Runs the jobs in this process: `hostedProcessor()`. Left out or false: this process only starts jobs, another one runs them. */
  processor?: ProcessorPlugin | false | undefined;
  /** How long a worker may be silent before its jobs are taken over. Renewed every third of it. Default 10 000, at least 300. Unit: ms. */
  leaseMs?: number | undefined;
  /** How old a prepared job is when its database is asked for the first time. Default 10 000. Unit: ms. */
  prepareTimeoutMs?: number | undefined;
  /** How long finished jobs are kept, and with them the idempotency of their gids. Default 7 days, at least 1 hour. Unit: ms. */
  retentionMs?: number | undefined;
  /** How long failed jobs are kept. Default 90 days, at least 1 hour. Unit: ms. */
  failedRetentionMs?: number | undefined;
}

const DAY_MS = 86_400_000;
/** Of the second that `stop()` has after the drain time; the processor takes half of it. Unit: ms. */
const STORE_STOP_MS = 400;

/** The parts of the local TM that a processor drives. For authors of processors; users need none of it. */
export interface LocalEngine {
  readonly store: TransactionStore;
  readonly clock: Clock;
  readonly leaseMs: number;
  readonly retentionMs: number;
  readonly failedRetentionMs: number;
  /** Queues whose steps this process can run. */
  readonly stepQueues: readonly string[];
  /** Queues in which prepared jobs of this process's databases wait. */
  queryBackQueues(): readonly string[];
  /** What makes claimed jobs run for this host. `claimSentAt`: when the claim was sent, on the monotonic clock. */
  opener(host: { slots: Slots; serves: (queue: string) => boolean }): (job: ClaimedJob, claimSentAt: number) => JobRun;
  readonly queryBack: QueryBack;
  readonly purger: Purger;
  /** One for all jobs of this process that may have killed their worker. Who waits for it is no reason to claim less. */
  readonly suspects: Slots;
  /** Run-after-submit and wake-ups go to this processor from now on. Returns what ends it. */
  link(processor: LocalProcessor): () => void;
}

/** Provided by {@link localTm}. */
export const LocalEngine: Token<LocalEngine> = token<LocalEngine>('LocalEngine');

/**
 * The transaction manager that runs inside your app: jobs are rows of your own database, run by a processor of this or of another process.
 *
 * @throws {@link SteppingError} `CONFIG_INVALID`
 * @example createStepping({ steps, tm: localTm({ store: typeormStore({ dataSource }), processor: hostedProcessor() }) })
 */
export function localTm(options: LocalTmOptions): TmPlugin {
  const {
    store,
    processor,
    leaseMs = 10_000,
    prepareTimeoutMs = 10_000,
    retentionMs = 7 * DAY_MS,
    failedRetentionMs = 90 * DAY_MS,
  } = options;
  atLeast('leaseMs', leaseMs, 300);
  atLeast('prepareTimeoutMs', prepareTimeoutMs, 1);
  atLeast('retentionMs', retentionMs, MIN_RETENTION_MS);
  atLeast('failedRetentionMs', failedRetentionMs, MIN_RETENTION_MS);
  const Link = token<ProcessorLink>('ProcessorLink');
  const LocalPurger = token<Purger>('Purger');
  let stopped = false;
  return {
    name: 'tm-local',
    provides: 'tm',
    requires: [Store],
    register(registry) {
      registry.provide(Clock, () => systemClock);
      store.register?.(registry);
      registry.provide(Link, (r) => new ProcessorLink(() => r.resolve(Store).hintDue?.()));
      registry.provide(
        LocalPurger,
        (r) => new Purger({ store: r.resolve(Store), databases: r.resolve(DbProviders), clock: r.resolve(Clock), log: r.resolve(Log) }),
      );
      registry.provide(TransactionManager, (r) => {
        const link = r.resolve(Link);
        const operations = new LocalOperations({
          store: r.resolve(Store),
          databases: r.resolve(DbProviders),
          events: r.resolve(Events),
          log: r.resolve(Log),
          link,
          purger: r.resolve(LocalPurger),
          clock: r.resolve(Clock),
        });
        return new LocalTransactionManager({ store: r.resolve(Store), clock: r.resolve(Clock), link, operations, prepareTimeoutMs });
      });
      registry.provide(LocalEngine, (r) =>
        engine(r, { leaseMs, retentionMs, failedRetentionMs, link: r.resolve(Link), purger: r.resolve(LocalPurger) }),
      );
      if (processor) processor.register?.(registry);
    },
    async start(r) {
      await store.start?.(r);
      await r.resolve(Store).start();
      if (stopped) {
        // stop() waited for this start as long as it may, and went on without it.
        await r.resolve(Store).stop();
        return;
      }
      if (processor) await processor.start?.(r);
    },
    async migrate(r, { tenant }) {
      if (tenant === undefined) await r.resolve(Store).migrate();
    },
    quiesce(r) {
      if (processor) processor.quiesce?.(r);
    },
    async stop(r, stopOptions) {
      stopped = true;
      try {
        if (processor) await processor.stop?.(r, stopOptions);
      } finally {
        // Nothing is open any more. A database that does not answer must not hold up the end of the process: its connections close behind.
        await within(STORE_STOP_MS, 'Closing the connections of the store', () => r.resolve(Store).stop());
        await store.stop?.(r, stopOptions);
      }
    },
  };
}

function engine(
  r: Resolver,
  parts: { leaseMs: number; retentionMs: number; failedRetentionMs: number; link: ProcessorLink; purger: Purger },
): LocalEngine {
  const store = r.resolve(Store);
  const clock = r.resolve(Clock);
  const events = r.resolve(Events);
  const log = r.resolve(Log);
  const steps = r.resolve(Steps);
  const databases = r.resolve(DbProviders);
  const { leaseMs, link, purger } = parts;
  const saves = new GroupCommit<Save, boolean>({
    send: async (batch) => {
      const matched = await store.save(batch);
      return batch.map(({ gid }) => matched.has(gid));
    },
    clock,
    lanes: 2,
    maxBatch: store.maxBatch,
  });
  // Past its lease a save would hit nothing.
  const save = (write: Save): Promise<Acknowledged<boolean>> => saves.add(write, leaseMs);
  const putBack = (queue: string, dueInMs: number) => {
    link.wake(queue, dueInMs);
  };
  const holds = async ({ gid, lease }: Lease) => (await store.find(gid))?.lease === lease;
  const gate = new StartGate();
  const suspects = new Slots(1, clock);
  const unrunnable = new UnrunnableBackoff();
  return {
    store,
    clock,
    leaseMs,
    retentionMs: parts.retentionMs,
    failedRetentionMs: parts.failedRetentionMs,
    stepQueues: steps.queues(),
    queryBackQueues: () => databases.all().map(queryBackQueue),
    opener(host) {
      const deps = { save, holds, steps, events, log, clock, gate, suspects, unrunnable, leaseMs, putBack, ...host };
      return (job, claimSentAt) => new JobRun(deps, job, claimSentAt);
    },
    queryBack: new QueryBack({ save, databases, events, log, clock, putBack }),
    purger,
    suspects,
    link: (processor) => link.link(processor),
  };
}

function atLeast(option: string, value: number, least: number): void {
  if (Number.isFinite(value) && value >= least) return;
  throw new SteppingError('CONFIG_INVALID', `localTm({ ${option}: ${value} }): it is in milliseconds, and at least ${least}.`, {
    option,
    value,
  });
}
