import type { DbProvider } from '../db-transaction.js';
import type { Resolver } from '../injection.js';
import type { Logger } from '../logger.js';
import type { SteppingPlugin } from '../plugin.js';
import { SteppingError } from '../stepping-error.js';
import { DbProviders, Log, TransactionManager } from '../tokens.js';
import type { SweepOptions } from './sweep.js';

const HOUR_MS = 3_600_000;
const MIN_RETENTION_MS = HOUR_MS;
/** Longer than senders repeat a request, and than a transaction manager that has no lease keeps its jobs. Unit: ms. */
export const DEFAULT_RETENTION_MS = 30 * 24 * HOUR_MS;
/** A process that lives shorter than an hour sweeps, too. Unit: ms. */
const FIRST_SWEEP_MS = 60_000;

/** A db provider as its plugin drives it. */
export interface DrivenDbProvider extends DbProvider {
  start(): Promise<void>;
  /** Removes what is old and what no purge of jobs removes. Never rejects. */
  sweep(options: SweepOptions, log: Required<Logger>): Promise<void>;
  close(): void | Promise<void>;
}

export interface DbPluginOptions {
  readonly name?: string | undefined;
  readonly barrierRetentionMs?: number | undefined;
}

/**
 * The plugin of a db package: makes the database known, migrates it, sweeps it hourly. `plugin` is the name of the package's function, for messages.
 *
 * @throws {@link SteppingError} `CONFIG_INVALID`
 */
export function dbPlugin(plugin: string, options: DbPluginOptions, open: () => DrivenDbProvider): SteppingPlugin {
  const { name = 'default', barrierRetentionMs: retentionMs = DEFAULT_RETENTION_MS } = options;
  if (!(retentionMs >= MIN_RETENTION_MS)) {
    throw new SteppingError(
      'CONFIG_INVALID',
      `${plugin}({ barrierRetentionMs: ${retentionMs} }): it is in milliseconds, and at least an hour.`,
      { barrierRetentionMs: retentionMs },
    );
  }
  const sweeps = new WeakMap<DbProviders, () => void>();
  const started = new WeakMap<DbProviders, DrivenDbProvider>();
  return {
    name: `${plugin}(${name})`,
    async start(resolver) {
      const provider = open();
      const known = resolver.resolve(DbProviders);
      known.add(provider);
      started.set(known, provider);
      await provider.start();
      sweeps.set(known, sweepHourly(resolver, provider, retentionMs));
    },
    async migrate(resolver, { tenant }) {
      const running = started.get(resolver.resolve(DbProviders));
      if (running) return running.migrate({ tenant });
      const provider = open();
      await provider.migrate({ tenant }).finally(() => provider.close());
    },
    async stop(resolver) {
      const known = resolver.resolve(DbProviders);
      sweeps.get(known)?.();
      await started.get(known)?.close();
    },
  };
}

/** Returns what ends it. Holds no process open. */
function sweepHourly(resolver: Resolver, provider: DrivenDbProvider, retentionMs: number): () => void {
  let ended = false;
  let timer: NodeJS.Timeout;
  const after = (ms: number) => {
    timer = setTimeout(async () => {
      const hasJob = async (gid: string) => (await resolver.resolve(TransactionManager).find(gid)) !== undefined;
      await provider.sweep({ retentionMs, hasJob }, resolver.resolve(Log));
      if (!ended) after(HOUR_MS);
    }, ms).unref();
  };
  after(FIRST_SWEEP_MS);
  return () => {
    ended = true;
    clearTimeout(timer);
  };
}
