import { checkMs, checkName } from './check-options.js';
import type { Container } from './container.js';
import type { Lifecycle } from './lifecycle.js';
import type { Logger } from './logger.js';
import type { SteppingPlugin } from './plugin.js';
import { SteppingError } from './stepping-error.js';
import { settlesWithin } from './within.js';

const DEFAULT_DRAIN_TIMEOUT_MS = 10_000;
/** After the drain time: to abort signals and hand jobs back. Unit: ms. */
const GRACE_MS = 1_000;

/** Starts the plugins in order, stops them in the reverse one; each at most once. */
export class Startup {
  readonly #plugins: readonly SteppingPlugin[];
  readonly #container: Container;
  readonly #lifecycle: Lifecycle;
  readonly #logger: Required<Logger>;
  readonly #connect: () => void;
  readonly #running: SteppingPlugin[] = [];
  #starting: Promise<void> | undefined;
  #stopping: Promise<void> | undefined;

  /** `plugins` in the order of their start. `connect` checks the wiring. */
  constructor(app: {
    plugins: readonly SteppingPlugin[];
    container: Container;
    lifecycle: Lifecycle;
    logger: Required<Logger>;
    connect: () => void;
  }) {
    this.#plugins = app.plugins;
    this.#container = app.container;
    this.#lifecycle = app.lifecycle;
    this.#logger = app.logger;
    this.#connect = app.connect;
  }

  /** Twice is one promise. */
  start(): Promise<void> {
    if (this.#stopping && !this.#starting) return Promise.reject(noRestart('start()'));
    this.#starting ??= this.#start();
    return this.#starting;
  }

  /** Twice is one promise. */
  stop({ drainTimeoutMs }: { drainTimeoutMs?: number | undefined }): Promise<void> {
    try {
      if (drainTimeoutMs !== undefined) checkMs('drainTimeoutMs of stop', drainTimeoutMs);
    } catch (error) {
      return Promise.reject(error);
    }
    this.#stopping ??= this.#stop(drainTimeoutMs);
    return this.#stopping;
  }

  async migrate(tenant: string | undefined): Promise<void> {
    if (tenant !== undefined) checkName('tenant of migrate', tenant);
    if (this.#stopping) throw noRestart('migrate()');
    for (const plugin of this.#plugins) await plugin.migrate?.(this.#container, { tenant });
  }

  async #start(): Promise<void> {
    const lifecycle = this.#lifecycle;
    lifecycle.phase = 'starting';
    try {
      this.#connect();
      for (const plugin of this.#plugins) {
        // Before its start: one that fails half-way has something to stop, too.
        this.#running.push(plugin);
        await plugin.start?.(this.#container);
        if (lifecycle.phase !== 'starting') throw noRestart('start()'); // stop() waited in vain
      }
      lifecycle.phase = 'running';
    } catch (error) {
      if (lifecycle.phase === 'starting') lifecycle.phase = 'failed';
      await this.#stopPlugins(() => 0);
      throw error;
    }
  }

  async #stop(asked: number | undefined): Promise<void> {
    const lifecycle = this.#lifecycle;
    const calledAt = performance.now();
    const leftMs = () => Math.max(0, calledAt + (asked ?? DEFAULT_DRAIN_TIMEOUT_MS) - performance.now());
    await this.#startEnded(leftMs());
    lifecycle.phase = 'stopping';
    const waited = lifecycle.hasOpenWork;
    this.#quiesce();
    const ended = await settlesWithin(lifecycle.idle(), leftMs());
    if (!ended)
      this.#logger.warn('Business transactions are still open at the end of the drain time; the query-back decides about their jobs');
    // Nobody asked for a time and nothing took any: a processor with a longer one of its own may take it.
    await this.#stopPlugins(asked === undefined && !waited ? () => undefined : leftMs);
    lifecycle.phase = 'stopped';
  }

  /** A start that is under way is waited for; one that failed has stopped what it had started. */
  async #startEnded(waitMs: number): Promise<void> {
    if (!this.#starting) return;
    const ended = await settlesWithin(Promise.allSettled([this.#starting]), waitMs);
    if (!ended) this.#logger.warn('stop() was called, but start() does not end; stopping what it has started');
  }

  #quiesce(): void {
    for (const plugin of this.#running.toReversed()) {
      try {
        plugin.quiesce?.(this.#container);
      } catch (error) {
        this.#logger.error(`${plugin.name} failed to quiesce`, { plugin: plugin.name, error });
      }
    }
  }

  /** `leftMs`: of the drain time, for all of them together. Without one, the TM has its own. */
  async #stopPlugins(leftMs: () => number | undefined): Promise<void> {
    const graceEndsAt = performance.now() + (leftMs() ?? DEFAULT_DRAIN_TIMEOUT_MS) + GRACE_MS;
    for (const plugin of this.#running.splice(0).toReversed()) {
      const drainTimeoutMs = leftMs();
      const stopped = this.#stopPlugin(plugin, drainTimeoutMs);
      if (drainTimeoutMs === undefined && 'provides' in plugin) await stopped;
      else if (!(await settlesWithin(stopped, graceEndsAt - performance.now()))) {
        this.#logger.error(`${plugin.name} does not stop; going on without it`, { plugin: plugin.name });
      }
    }
  }

  async #stopPlugin(plugin: SteppingPlugin, drainTimeoutMs: number | undefined): Promise<void> {
    try {
      await plugin.stop?.(this.#container, { drainTimeoutMs });
    } catch (error) {
      this.#logger.error(`${plugin.name} failed to stop`, { plugin: plugin.name, error });
    }
  }
}

function noRestart(what: string): SteppingError<'NOT_STARTED'> {
  return new SteppingError(
    'NOT_STARTED',
    `${what} is not possible after stepping.stop(). There is no restart: make a new app by createStepping().`,
  );
}
