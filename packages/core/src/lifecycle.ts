import { AsyncLocalStorage } from 'node:async_hooks';
import { SteppingError } from './stepping-error.js';

type Phase = 'new' | 'starting' | 'running' | 'failed' | 'stopping' | 'stopped';

/** The kind of work that some code belongs to: a step's attempt, or a business transaction that a db package opened. */
interface Work {
  readonly kind: 'step' | 'transaction';
  readonly outer: Work | undefined;
  // Code that outlives its work (a timer, a promise nobody awaited) no longer belongs to it.
  ended: boolean;
}

const STOPPED = 'stepping.stop() was called. There is no restart: a new process, or a new app by createStepping(), takes new work.';
const NOT_STARTED: Record<Exclude<Phase, 'running'>, string> = {
  new: 'call `await stepping.start()` once, when the process starts, before it.',
  starting: 'stepping.start() has not finished yet; await it first.',
  failed: 'stepping.start() failed; mend what it said and make a new app by createStepping().',
  stopping: STOPPED,
  stopped: STOPPED,
};

/** Where the app stands between `start()` and `stop()`, and the work that `stop()` waits for. */
export class Lifecycle {
  phase: Phase = 'new';
  readonly #current = new AsyncLocalStorage<Work>();
  // Steps run outside of whatever started them: a transaction that is just being committed, a request that is just being answered.
  readonly #outside = AsyncLocalStorage.snapshot();
  #open = 0;
  #whenIdle: (() => void)[] = [];

  /** @throws {@link SteppingError} `NOT_STARTED`. Work that was open when `stop()` was called may go on. */
  assertTakesWork(what: string): void {
    if (this.phase === 'running' || ((this.phase === 'starting' || this.phase === 'stopping') && this.#isInside())) return;
    throw this.#notStarted(what);
  }

  /** @throws {@link SteppingError} `NOT_STARTED` unless the TM can be asked something. */
  assertServes(what: string): void {
    if (!this.serves) throw this.#notStarted(what);
  }

  get serves(): boolean {
    return this.phase === 'running' || this.phase === 'stopping' || (this.phase === 'starting' && this.#isInside());
  }

  /** Runs one attempt of a step. The TM waits for it, not we. */
  runStep(work: () => unknown): Promise<void> {
    return this.#outside(() => this.#run('step', work)) as Promise<void>;
  }

  /** Runs a business transaction, begin to submit. */
  runTransaction<R>(work: () => Promise<R>): Promise<R> {
    return this.hold(() => this.#run('transaction', work));
  }

  /** Makes `stop()` wait for `work`. */
  async hold<R>(work: () => Promise<R>): Promise<R> {
    this.#open++;
    try {
      return await work();
    } finally {
      if (--this.#open === 0) for (const tell of this.#whenIdle.splice(0)) tell();
    }
  }

  isInsideTransaction(): boolean {
    return this.#isInside('transaction');
  }

  /** Whether there is work that {@link idle} would wait for. */
  get hasOpenWork(): boolean {
    return this.#open > 0;
  }

  /** Resolves when no work is open. */
  idle(): Promise<void> {
    if (this.#open === 0) return Promise.resolve();
    return new Promise((resolve) => this.#whenIdle.push(resolve));
  }

  async #run<R>(kind: Work['kind'], work: () => R | Promise<R>): Promise<R> {
    const mine: Work = { kind, outer: this.#current.getStore(), ended: false };
    try {
      return await this.#current.run(mine, work);
    } finally {
      mine.ended = true;
    }
  }

  #notStarted(what: string): SteppingError<'NOT_STARTED'> {
    const remedy = this.phase === 'running' ? '' : NOT_STARTED[this.phase];
    return new SteppingError('NOT_STARTED', `${what} is not possible now: ${remedy}`, { phase: this.phase });
  }

  #isInside(kind?: Work['kind']): boolean {
    for (let work = this.#current.getStore(); work; work = work.outer) {
      if (!work.ended && (kind === undefined || work.kind === kind)) return true;
    }
    return false;
  }
}
