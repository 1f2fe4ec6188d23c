import {
  type DbRef,
  type EventEmitter,
  type Logger,
  nextAttemptInMs,
  type RunnableStep,
  SteppingError,
  type Steps,
  steppingStops,
  storedError,
} from '@stepping/core';
import type { Clock } from './clock.js';
import { type Acknowledged, WriteGivenUp } from './group-commit.js';
import type { Slots } from './slots.js';
import type { StartGate } from './start-gate.js';
import { type AttemptHost, type AttemptOutcome, LEFT, StepAttempt } from './step-attempt.js';
import { type DecodedStep, decodeSteps } from './stored-steps.js';
import type { ClaimedJob, Lease, Save } from './transaction-store.js';
import type { UnrunnableBackoff } from './unrunnable-backoff.js';

/** Part of the lease in which nothing is started any more: what the start itself may take. */
const START_MARGIN = 0.1;
/** Part of the lease that must be left, or the next checkpoint renews it. */
const RENEWED_BY_CHECKPOINT = 5 / 6;

/** What a run needs of the process around it. */
export interface JobRunDeps {
  readonly save: (save: Save) => Promise<Acknowledged<boolean>>;
  /** Whether the job is stored with this very lease, read now. */
  readonly holds: (lease: Lease) => Promise<boolean>;
  readonly steps: Steps;
  readonly events: EventEmitter;
  readonly log: Required<Logger>;
  readonly clock: Clock;
  readonly gate: StartGate;
  readonly unrunnable: UnrunnableBackoff;
  readonly slots: Slots;
  /** One for all jobs of this process that may have killed their worker. */
  readonly suspects: Slots;
  readonly leaseMs: number;
  /** Whether this process claims from a queue: then a checkpoint into it goes on here. */
  readonly serves: (queue: string) => boolean;
  /** The job was put back and is due in this time: look then, or tell others. Unit: ms. */
  readonly putBack: (queue: string, dueInMs: number) => void;
}

type Outcome =
  | AttemptOutcome
  /** stop() came before the start, or too little of the lease was left for it: the job is handed back. */
  | { readonly kind: 'not-started' };

const NO = Promise.resolve(false);
const NOT_STARTED: Outcome = { kind: 'not-started' };

/**
 * One claimed job, run step by step until it ends or leaves this process. Every write is fenced by the lease (R6), the next step starts only when the
 * checkpoint of the last one is acknowledged, and a write that was not answered is never followed by another (R7).
 */
export class JobRun implements AttemptHost {
  readonly gid: string;
  readonly lease: number;
  readonly #deps: JobRunDeps;
  readonly #job: ClaimedJob;
  #steps: readonly DecodedStep[] = [];
  #step: number;
  #attempt: number;
  #queue: string;
  #leaseEndsAt: number;
  #saving = false;
  #left = false;
  #stopping = false;
  #aborting = false;
  #startedAt = 0;
  /** Its last holder went silent, and nobody has counted that yet. */
  #uncounted: boolean;
  #running: StepAttempt | undefined;
  /** Databases that hold barriers of the steps, since the last save. */
  #barrierDbs: DbRef[] | undefined;

  /** `claimSentAt`: when the claim was sent, on the monotonic clock: its lease counts from then. */
  constructor(deps: JobRunDeps, job: ClaimedJob, claimSentAt: number) {
    this.#deps = deps;
    this.#job = job;
    this.gid = job.gid;
    this.lease = job.lease;
    this.#step = job.step;
    this.#attempt = job.attempt;
    this.#queue = job.queue;
    this.#leaseEndsAt = claimSentAt + deps.leaseMs;
    this.#uncounted = job.wasHeld;
  }

  /** Whether its lease should be renewed now: not while a save is queued, which would be undone or outrun by it. */
  get renewable(): boolean {
    return !this.#left && !this.#saving && this.#leaseEndsAt - this.#deps.clock.monotonicMs() < (this.#deps.leaseMs * 2) / 3;
  }

  /** The lease was renewed by a write sent at `sentAt`. */
  renewed(sentAt: number): void {
    this.#leaseEndsAt = Math.max(this.#leaseEndsAt, sentAt + this.#deps.leaseMs);
  }

  /** A renewal found the lease gone. One that was overtaken by a save of ours says nothing. */
  leaseGone(): void {
    if (this.#saving || this.#left) return;
    this.#lose();
  }

  /** Starts nothing more; what runs may end. */
  stop(): void {
    this.#stopping = true;
  }

  /** Aborts what still runs after {@link stop}: an attempt that ends now is handed back uncounted. */
  abort(): void {
    if (this.#left) return;
    this.#stopping = true;
    this.#aborting = true;
    this.#running?.abort(steppingStops(this.gid));
  }

  /** The process ends: a step that ignores its abort is not handed back (it would run twice at once); its lease runs out. */
  abandon(): void {
    this.#left = true;
    this.#running?.leave();
  }

  mayBeLost(): boolean {
    return this.#left || this.#deps.clock.monotonicMs() > this.#leaseEndsAt;
  }

  async holds(): Promise<boolean> {
    return !this.#left && (await this.#deps.holds(this));
  }

  usesBarriersOf(db: DbRef): void {
    this.#barrierDbs ??= [];
    this.#barrierDbs.push(db);
  }

  /** Resolves when the job has ended or left. Never rejects. */
  async run(): Promise<void> {
    try {
      this.#steps = decodeSteps(this.#job.steps);
    } catch (error) {
      await this.#handBackUnrunnable(this.gid, error);
      return;
    }
    try {
      while (!this.#left && (await this.#runStep()));
    } catch (error) {
      // Nothing thrown may end the processor, and a job whose state is not known here is let go.
      this.#left = true;
      this.#deps.log.error('a job was let go after an unexpected error; it will be due again when its lease ends', {
        gid: this.gid,
        error,
      });
    }
  }

  /** One attempt of the next step. True: its checkpoint is acknowledged, and the job goes on here. */
  async #runStep(): Promise<boolean> {
    const step = this.#steps[this.#step];
    if (!step) {
      await this.#handBackUnrunnable(this.gid, new Error(`The job is stored at step ${this.#step}, but has ${this.#steps.length}`));
      return false;
    }
    const { steps, suspects, slots } = this.#deps;
    let runnable: RunnableStep;
    try {
      const opened = steps.open(step);
      runnable = opened instanceof Promise ? await opened : opened;
    } catch (error) {
      await this.#handBackUnrunnable(SteppingError.is(error, 'STEP_NOT_RUNNABLE') ? step.name : this.gid, error);
      return false;
    }
    // Before the slot: jobs that wait for another suspect hold up no handler.
    const alone = this.#uncounted && this.#isSuspect(runnable) ? suspects : undefined;
    let outcome: Outcome = NOT_STARTED;
    if (alone === undefined || (await alone.take())) {
      try {
        // What is there at once is not awaited: this is done for every step of every job.
        const taken = slots.take();
        if (taken === true || (taken !== false && (await taken))) {
          try {
            outcome = await (this.#uncounted ? this.#takeOver(step, runnable) : this.#begin(step, runnable));
          } finally {
            slots.release();
          }
        }
      } finally {
        alone?.release();
      }
    }
    if (this.#left) return false;
    switch (outcome.kind) {
      case 'succeeded':
        return await this.#checkpoint(step);
      case 'failed':
        await this.#saveFailure(step, runnable, outcome.error);
        return false;
      case 'not-started':
        // One that was found held keeps that mark until somebody counts it: it is not handed back, its lease runs out.
        if (!this.#uncounted) await this.#handBack();
        return false;
      case 'left':
        return false;
    }
  }

  /** May have killed its worker twice, or has too few attempts to be charged for a neighbour: runs with no other such job beside it. */
  #isSuspect({ retry }: RunnableStep): boolean {
    return this.#attempt < retry.maxAttempts && (this.#attempt + 1 >= 3 || retry.maxAttempts < 3);
  }

  /**
   * The last holder went silent (A4): its attempt is counted, under our fence and acknowledged, before the next one starts. A job on its last attempt had
   * marked it as begun, so that one found at `maxAttempts` never began, and one above it did and took its worker along.
   */
  async #takeOver(step: DecodedStep, runnable: RunnableStep): Promise<Outcome> {
    const { maxAttempts } = runnable.retry;
    if (this.#attempt > maxAttempts) {
      await this.#saveFailed(
        step,
        new SteppingError(
          'STEP_PERMANENT',
          `Worker lost: the process that ran the last of ${maxAttempts} attempts of step ${step.name} went silent. Redrive the job if it was not the step's doing.`,
        ),
        maxAttempts,
      );
      return LEFT;
    }
    if (this.#attempt === maxAttempts) return this.#begin(step, runnable);

    const raised = this.#attempt + 1;
    if (maxAttempts === Number.POSITIVE_INFINITY && !this.#isSuspect(runnable)) {
      // A neighbour that kills the process between count and start charges this job for nothing. Without a bound that takes nothing from it, and who may be the killer (from the third attempt
      // on) is still counted alone: so all that have a slot are counted side by side, in one commit.
      if (this.#stopping) return NOT_STARTED;
      if (!(await this.#count(raised))) return LEFT;
      this.#attempt = raised;
      return this.#begin(step, runnable);
    }
    const begun = await this.#deps.gate.closed(async () => {
      if (this.#stopping) return { outcome: NOT_STARTED };
      if (!(await this.#count(raised))) return { outcome: LEFT };
      this.#attempt = raised;
      if (raised === maxAttempts && !(await this.#count(maxAttempts + 1))) return { outcome: LEFT };
      if (!this.#mayStart()) {
        // Still inside: until it is written that the attempt did not count, nobody else is started who could kill the process.
        await this.#handBack();
        return { outcome: LEFT };
      }
      // In an object: an async function would await a bare promise, and the gate is to open when the step has started, not when it ended.
      return { outcome: this.#start(step, runnable) };
    });
    return begun.outcome;
  }

  #begin(step: DecodedStep, runnable: RunnableStep): Promise<Outcome> | Outcome {
    if (this.#stopping) return NOT_STARTED;
    if (this.#attempt >= runnable.retry.maxAttempts || this.#deps.gate.closing) return this.#beginLater(step, runnable);
    return this.#mayStart() ? this.#start(step, runnable) : NOT_STARTED;
  }

  async #beginLater(step: DecodedStep, runnable: RunnableStep): Promise<Outcome> {
    // Not inside the gate: every attempt of a step with one would be a commit that holds up all others. A neighbour that kills the process between mark and start costs this job
    // its last attempt.
    if (this.#attempt >= runnable.retry.maxAttempts && !(await this.#count(this.#attempt + 1))) return LEFT;
    for (let closing = this.#deps.gate.closing; closing; closing = this.#deps.gate.closing) await closing;
    return this.#mayStart() ? this.#start(step, runnable) : NOT_STARTED;
  }

  /** Writes the number of the attempt, absolute, so that a repeat counts nothing twice. False: let go. */
  async #count(attempt: number): Promise<boolean> {
    if (!(await this.#save({ status: 'submitted', step: this.#step, attempt, giveUp: false }))) return false;
    this.#uncounted = false;
    return true;
  }

  /** Not after stop(); and not late, by a frozen process or a store that was slow: somebody else may own the job by now. Handing it back then is fenced. */
  #mayStart(): boolean {
    const { clock, leaseMs } = this.#deps;
    return !this.#stopping && clock.monotonicMs() <= this.#leaseEndsAt - leaseMs * START_MARGIN;
  }

  /** Calls the step's code in this very turn. */
  #start(step: DecodedStep, runnable: RunnableStep): Promise<Outcome> | Outcome {
    const { clock, events } = this.#deps;
    if (this.#left) return LEFT;
    const attempt = new StepAttempt(this, this.#job, this.#step, this.#attempt);
    this.#running = attempt;
    this.#startedAt = clock.monotonicMs();
    if (events.hasListeners('step.started')) {
      const { gid, tenant, stepIndex } = attempt;
      events.emit('step.started', { gid, tenant, step: step.name, stepIndex, attempt: attempt.attempt });
    }
    return attempt.run(step.name, runnable, clock);
  }

  async #checkpoint(step: DecodedStep): Promise<boolean> {
    const { events, serves, putBack, clock, leaseMs } = this.#deps;
    const stepIndex = this.#step;
    const attempt = this.#attempt;
    const next = this.#steps[stepIndex + 1];
    const goesOn = next !== undefined && !this.#stopping && serves(next.queue);
    // A renewal passes over jobs with a save on its way, and where the store is slow that is most of their time. So a checkpoint renews, too, but not in the first moments of a lease:
    // it would cost each job of a fast store a change of the index.
    const endedAt = clock.monotonicMs();
    const renews = goesOn && this.#leaseEndsAt - endedAt < leaseMs * RENEWED_BY_CHECKPOINT;
    const handsOver = next !== undefined && !goesOn;
    const saved = await this.#save({
      status: next ? 'submitted' : 'succeeded',
      step: stepIndex + 1,
      attempt: 1,
      giveUp: !goesOn,
      dueInMs: renews ? leaseMs : handsOver ? 0 : undefined,
      queue: next && next.queue !== this.#queue ? next.queue : undefined,
    });
    if (!saved) return false;
    if (renews) this.renewed(endedAt);
    if (events.hasListeners('step.succeeded')) {
      const durationMs = endedAt - this.#startedAt;
      events.emit('step.succeeded', { gid: this.gid, tenant: this.#job.tenant, step: step.name, stepIndex, attempt, durationMs });
    }
    if (!next) {
      if (events.hasListeners('job.succeeded')) events.emit('job.succeeded', { gid: this.gid, tenant: this.#job.tenant });
      return false;
    }
    this.#step = stepIndex + 1;
    this.#attempt = 1;
    this.#queue = next.queue;
    if (!goesOn) putBack(next.queue, 0);
    return goesOn;
  }

  async #saveFailure(step: DecodedStep, runnable: RunnableStep, error: unknown): Promise<void> {
    if (this.#aborting && !SteppingError.is(error, 'STEP_PERMANENT')) {
      // It ended because of the stop, not by a failure of its own.
      await this.#handBack();
      return;
    }
    const delayMs = nextAttemptInMs(runnable.retry, this.#attempt, error);
    if (delayMs === undefined) {
      await this.#saveFailed(step, error);
      return;
    }
    const { events, clock, log, putBack } = this.#deps;
    const attempt = this.#attempt;
    const saved = await this.#save({
      status: 'submitted',
      step: this.#step,
      attempt: attempt + 1,
      giveUp: true,
      dueInMs: delayMs,
      error: storedError(error),
    });
    if (!saved) return;
    putBack(this.#queue, delayMs);
    log.warn('step failed; will retry', { gid: this.gid, step: step.name, attempt, delayMs, error });
    events.emit('step.failed', {
      gid: this.gid,
      tenant: this.#job.tenant,
      step: step.name,
      stepIndex: this.#step,
      attempt,
      error,
      nextAttemptAt: new Date(clock.now() + delayMs),
    });
  }

  async #saveFailed(step: DecodedStep, error: unknown, attempt = this.#attempt): Promise<void> {
    const { events, log } = this.#deps;
    const { gid } = this;
    const { tenant } = this.#job;
    const saved = await this.#save({ status: 'failed', step: this.#step, attempt, giveUp: true, error: storedError(error) });
    if (!saved) return;
    log.error('step failed for good; the job is a dead letter until it is redriven', { gid, step: step.name, attempt, error });
    events.emit('step.failed', { gid, tenant, step: step.name, stepIndex: this.#step, attempt, error, nextAttemptAt: undefined });
    events.emit('job.failed', { gid, tenant, step: step.name, error });
  }

  /** Not started, or ended by stop(): due at once, with the number of the attempt that did not count. */
  async #handBack(): Promise<void> {
    const saved = await this.#save({ status: 'submitted', step: this.#step, attempt: this.#attempt, giveUp: true, dueInMs: 0 });
    if (saved) this.#deps.putBack(this.#queue, 0);
  }

  /** This process cannot run the next step; another one, or the next release, may. Uncounted, with a backoff, never `failed`. */
  async #handBackUnrunnable(key: string, error: unknown): Promise<void> {
    const { events, log, clock, unrunnable, putBack } = this.#deps;
    const dueInMs = unrunnable.nextMs(key, clock.monotonicMs());
    // A silent holder's attempt that nobody has counted stays marked for who can run the step: else it might crash there for ever.
    const giveUp = !this.#uncounted;
    const saved = await this.#save({ status: 'submitted', step: this.#step, attempt: this.#attempt, giveUp, dueInMs });
    if (!saved) return;
    this.#left = true;
    putBack(this.#queue, dueInMs);
    const step = this.#steps[this.#step]?.name ?? `number ${this.#step}`;
    log.error('step cannot be run here; handed back', { gid: this.gid, step, nextLookInMs: dueInMs, error });
    events.emit('step.unrunnable', { gid: this.gid, step, error });
  }

  /** Resolves with whether it is acknowledged and the job still ours: else it was let go. Never rejects. */
  #save(
    values: Pick<Save, 'status' | 'step' | 'attempt' | 'giveUp'> & Partial<Pick<Save, 'dueInMs' | 'queue' | 'error'>>,
  ): Promise<boolean> {
    const { status, step, attempt, giveUp, dueInMs, queue, error } = values;
    const barrierDbs = this.#barrierDbs;
    if (this.#left) return NO;
    this.#barrierDbs = undefined;
    this.#saving = true;
    const { gid, lease } = this;
    // Not an async function, and one shape for all saves: this is called for every step of every job.
    return this.#deps.save({ gid, lease, status, step, attempt, giveUp, dueInMs, queue, error, barrierDbs }).then(
      (acknowledged) => this.#heard(acknowledged, giveUp),
      (cause) => this.#unheard(step, cause),
    );
  }

  #heard({ answer, repeated }: Acknowledged<boolean>, gaveUp: boolean): boolean {
    this.#saving = false;
    if (answer) {
      if (gaveUp) this.#left = true;
      return true;
    }
    // No row after a repeat may be the first try, done and unheard: let go, but nobody took the lease for sure.
    if (repeated) this.#left = true;
    else this.#lose();
    return false;
  }

  #unheard(step: number, error: unknown): boolean {
    this.#saving = false;
    this.#left = true;
    const what = error instanceof WriteGivenUp ? 'no answer to a save' : 'a save was refused';
    this.#deps.log.error(`${what}; the job is let go and will be due again when its lease ends`, { gid: this.gid, step, error });
    return false;
  }

  /** Somebody else owns the job: stop, abort the signal, write nothing. */
  #lose(): void {
    if (this.#left) return;
    this.#left = true;
    this.#running?.abort(
      new SteppingError(
        'LEASE_LOST',
        `The lease of job ${this.gid} is gone: it was taken over, cancelled, or not renewed in time. Stop; whoever owns the job now goes on.`,
        { gid: this.gid },
      ),
    );
    this.#running?.leave();
    this.#deps.events.emit('job.lease-lost', { gid: this.gid });
  }
}
