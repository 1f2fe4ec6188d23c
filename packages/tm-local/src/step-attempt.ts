import { type Attempt, type Claim, type DbRef, type RunnableStep, stepTimedOut } from '@stepping/core';
import type { Clock } from './clock.js';

/** How an attempt ended. */
export type AttemptOutcome =
  | { readonly kind: 'succeeded' }
  | { readonly kind: 'failed'; readonly error: unknown }
  /** Lost or given up: nothing more is written. */
  | { readonly kind: 'left' };

const SUCCEEDED: AttemptOutcome = { kind: 'succeeded' };
export const LEFT: AttemptOutcome = { kind: 'left' };

/** What an attempt asks of the run of its job. */
export interface AttemptHost {
  /** Whether the lease may be somebody else's by now, as far as this process can tell. */
  mayBeLost(): boolean;
  /** Whether the job is stored with the lease of the run, read now. */
  holds(): Promise<boolean>;
  /** Steps of the job left barriers in this database. */
  usesBarriersOf(db: DbRef): void;
}

/** One attempt while the user's code runs, and what the code sees of it. A class, as one is made for every step of every job: closures for each of them cost twice the memory. */
export class StepAttempt implements Attempt, Claim {
  readonly gid: string;
  readonly tenant: string | undefined;
  readonly instance: string;
  readonly stepIndex: number;
  readonly attempt: number;
  readonly #host: AttemptHost;
  readonly #controller = new AbortController();
  #ended = false;
  #settle: ((outcome: AttemptOutcome) => void) | undefined;
  #cancelTimer: (() => void) | undefined;

  constructor(host: AttemptHost, job: Pick<Attempt & Claim, 'gid' | 'tenant' | 'instance'>, stepIndex: number, attempt: number) {
    this.#host = host;
    this.gid = job.gid;
    this.tenant = job.tenant;
    this.instance = job.instance;
    this.stepIndex = stepIndex;
    this.attempt = attempt;
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  get claim(): Claim {
    return this;
  }

  /** Calls the step's code in this very turn. Resolves with the first of: its end, its timeout, {@link leave}. */
  run(step: string, runnable: RunnableStep, clock: Clock): Promise<AttemptOutcome> {
    return new Promise((resolve) => {
      this.#settle = resolve;
      this.#cancelTimer = clock.setTimeout(() => {
        const error = stepTimedOut(this.gid, step, runnable.timeoutMs);
        this.#end({ kind: 'failed', error });
        this.#controller.abort(error);
      }, runnable.timeoutMs);
      runnable.run(this).then(
        () => this.#end(SUCCEEDED),
        (error: unknown) => this.#end({ kind: 'failed', error }),
      );
    });
  }

  /** Tells the step's code, if it still runs. */
  abort(reason: unknown): void {
    if (!this.#ended) this.#controller.abort(reason);
  }

  /** Waits for the step's code no longer. */
  leave(): void {
    this.#end(LEFT);
  }

  // What comes after the end of its attempt is nobody's, whatever the lease says.
  isOld(): boolean {
    return this.#ended || this.#host.mayBeLost();
  }

  async isStillOurs(): Promise<boolean> {
    return !this.#ended && (await this.#host.holds()) && !this.#ended;
  }

  uses(db: DbRef): void {
    if (!this.#ended) this.#host.usesBarriersOf(db);
  }

  /** Once: what a timed-out run does later changes nothing and writes nothing. */
  #end(outcome: AttemptOutcome): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#cancelTimer?.();
    this.#settle?.(outcome);
  }
}
