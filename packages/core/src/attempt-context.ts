import type { DbProviders } from './db-transaction.js';
import { gidFrom, idempotencyKey } from './gid.js';
import type { Job, JobOptions } from './job.js';
import type { Logger } from './logger.js';
import type { RunContext } from './step.js';
import { type StepScope, scopeKey } from './step-scope.js';
import type { Attempt } from './steps.js';

/** What the contexts of an app have in common. */
export interface AppOfSteps {
  readonly logger: Required<Logger>;
  readonly databases: DbProviders;
  readonly createJob: (options: JobOptions) => Job;
}

/** What `run` of a step receives. A class, because one is made for every attempt: an object literal with a getter takes twenty times as long. */
export class AttemptContext implements RunContext<unknown, unknown> {
  readonly args: unknown;
  readonly deps: unknown;
  readonly gid: string;
  readonly tenant: string | undefined;
  readonly idempotencyKey: string;
  readonly attempt: number;
  readonly signal: AbortSignal;
  /** A function of its own, so that it can be taken out of the context. */
  readonly createJob: (options?: JobOptions) => Job;
  readonly #step: string;
  readonly #claim: Attempt['claim'];
  readonly #app: AppOfSteps;
  #logger: Required<Logger> | undefined;

  constructor(
    step: { readonly name: string; readonly args: unknown; readonly deps: unknown },
    { gid, tenant, stepIndex, attempt, signal, claim }: Attempt,
    app: AppOfSteps,
  ) {
    const key = idempotencyKey(gid, stepIndex);
    this.args = step.args;
    this.deps = step.deps;
    this.gid = gid;
    this.tenant = tenant;
    this.idempotencyKey = key;
    this.attempt = attempt;
    this.signal = signal;
    this.#step = step.name;
    this.#claim = claim;
    this.#app = app;
    let children = 0;
    this.createJob = (options = {}) => {
      // Counted for every child, so that the second one keeps its gid whatever the first was given.
      const derived = gidFrom('child', key, String(children++));
      return app.createJob({ gid: options.gid ?? derived, tenant: options.tenant ?? tenant });
    };
  }

  get logger(): Required<Logger> {
    this.#logger ??= this.#app.logger.child({ gid: this.gid, step: this.#step, attempt: this.attempt }) as Required<Logger>;
    return this.#logger;
  }

  get [scopeKey](): StepScope {
    return { claim: this.#claim, databases: this.#app.databases };
  }
}
