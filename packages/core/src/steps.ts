import type { DbRef } from './db-transaction.js';
import type { ResolvedRetryPolicy } from './retry.js';

/**
 * What a transaction manager knows of the claim under which an attempt runs, for packages that keep an effect to once (R10). The user's code never sees it.
 */
export interface Claim {
  /** The start that the job belongs to. A gid that was purged and started anew has another one, so what its former life left behind is not taken for its own. */
  readonly instance: string;
  /** Whether somebody else may own the job by now: the attempt has ended, or its lease was not renewed in time. Costs nothing, and is no proof. */
  isOld(): boolean;
  /** Whether the job is ours at this moment: read where the jobs are kept. Rejects when that cannot be asked. */
  isStillOurs(): Promise<boolean>;
  /** Barriers of this job lie in `db`: the next write of the job stores it, so that its purge deletes them. */
  uses(db: DbRef): void;
}

/** Which attempt of which step of which job is made. */
export interface Attempt {
  readonly gid: string;
  readonly tenant: string | undefined;
  /** Position of the step in its job, from 0. */
  readonly stepIndex: number;
  /** Number of the attempt, from 1. */
  readonly attempt: number;
  readonly signal: AbortSignal;
  readonly claim: Claim;
}

/** A stored step that this process can run, with its args parsed. */
export interface RunnableStep {
  readonly retry: ResolvedRetryPolicy;
  /** Unit: ms. */
  readonly timeoutMs: number;
  /** Runs the user's code once. Rejects with whatever it throws. Does not watch the time: that is the TM's. */
  run(attempt: Attempt): Promise<void>;
}

/** The steps of this process, as a transaction manager sees them. */
export interface Steps {
  /**
   * Finds the implementation by name or alias and runs the args (a JSON value as it was stored; undefined: none) through its schema.
   *
   * @throws {@link SteppingError} `STEP_NOT_RUNNABLE` (no implementation here) or `ARGS_INVALID`: hand the job back, never fail it; another process may be able to run it.
   * Answers at once unless the schema is asynchronous.
   */
  open(step: { readonly name: string; readonly args: unknown }): RunnableStep | Promise<RunnableStep>;
  /** Whether a step of this name, or with this alias, is implemented here. */
  has(name: string): boolean;
  /** The queues of the steps implemented here, each once. */
  queues(): readonly string[];
  /** The names of the steps implemented here whose attempts are bounded (`retry.maxAttempts`). */
  bounded(): readonly string[];
}
