import { randomUUID } from 'node:crypto';
import {
  type Claim,
  type LedgerAnswer,
  type LedgerEnd,
  type LedgerKey,
  type LedgerRecord,
  nextAttemptInMs,
  type RunnableStep,
  SteppingError,
  steppingStops,
  stepTimedOut,
  storedError,
} from '@stepping/core';
import { DONE, LATER, LATER_DOUBLED } from './answer.js';
import { stopwatch } from './elapsed.js';
import type { JobLedger, StepCallbacksDeps } from './step-callback.js';
import type { StepMessage } from './step-message.js';

/** Part of the lease in which nothing is started any more: what the start itself may take. */
const START_MARGIN = 0.1;
/** First and longest pause before a write that got no answer is sent again. Unit: ms. */
const REPEAT_MS = { first: 100, longest: 1_000 };
/** How often an attempt is tried to begin while a callback waits: a moment without the database costs no interval of DTM, and one that is down holds nobody up. */
const BEGIN_TRIES = 3;

/** Which callback made a run begin. */
export interface StepCall {
  readonly message: StepMessage;
  readonly wireGid: string;
  /** Undefined: the database that keeps it is not known here. */
  readonly ledger: JobLedger | undefined;
  /** How long ago it came. */
  readonly since: () => number;
}

type Outcome =
  | { readonly kind: 'succeeded' }
  | { readonly kind: 'failed'; readonly error: unknown }
  /** Somebody else has the step, or the process ends: nothing more is written. */
  | { readonly kind: 'left' };

const LEFT: Outcome = { kind: 'left' };

/**
 * One attempt of a step under its ledger: begun there, counted, before the step's code is called; kept by a lease while it runs; and what became of it is acknowledged there before DTM hears
 * of it. A write that was not answered is sent again as it was, and never followed by another one (R7).
 */
export class StepRun {
  /** The status for every callback of this step that comes while it runs. When DTM would not wait any longer it is "later", and the step runs on. */
  readonly answer: Promise<number>;
  /** Settles when nothing of this run is to come any more. Never rejects. */
  readonly ended: Promise<unknown>;
  readonly #deps: StepCallbacksDeps;
  readonly #call: StepCall;
  readonly #token: string = randomUUID();
  readonly #controller = new AbortController();
  #leave: (() => void) | undefined;
  #left = false;
  #stopping = false;
  #answered = false;
  readonly #answerWith: (status: number) => void;
  /** How long ago the ledger last said that the step is ours. */
  #sinceHeld: () => number = stopwatch();
  #cancelRenewal: () => void = () => {};

  constructor(deps: StepCallbacksDeps, call: StepCall) {
    this.#deps = deps;
    this.#call = call;
    const { promise, resolve } = Promise.withResolvers<number>();
    this.answer = promise;
    this.#answerWith = (status) => {
      this.#answered = true;
      resolve(status);
    };
    const late = setTimeout(this.#answerWith, Math.max(0, deps.patienceMs - call.since()), LATER);
    this.ended = this.#run().then(this.#answerWith, (error: unknown) => {
      this.#log('error', 'a step was let go after an unexpected error; it is begun anew when its lease ends', { error });
      this.#answerWith(LATER);
    });
    void this.ended.finally(() => clearTimeout(late));
  }

  /** The process stops: what ends by this is handed back, uncounted. */
  abort(): void {
    this.#stopping = true;
    this.#controller.abort(steppingStops(this.#call.message.gid));
  }

  /** The process ends: a step that ignores its abort is not handed back (it would run twice at once); its lease runs out. */
  abandon(): void {
    this.#left = true;
    this.#leave?.();
  }

  async #run(): Promise<number> {
    let runnable: RunnableStep;
    try {
      runnable = await this.#open();
    } catch (error) {
      return this.#unrunnable(error);
    }
    const begun = await this.#begin(runnable);
    if (typeof begun === 'number') return begun;
    this.#renewInTime();
    try {
      const startedAt = performance.now();
      const outcome = await this.#attempt(runnable, begun.attempt);
      switch (outcome.kind) {
        case 'succeeded':
          return await this.#succeeded(begun.attempt, performance.now() - startedAt);
        case 'failed':
          return await this.#failed(runnable, begun, outcome.error);
        case 'left':
          return LATER;
      }
    } finally {
      this.#cancelRenewal();
    }
  }

  // ── before ──────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #open(): Promise<RunnableStep> {
    const { step, args, ledger, gid } = this.#call.message;
    if (!this.#call.ledger) {
      throw new SteppingError(
        'DB_UNKNOWN',
        `The attempts of job ${gid} are counted in the database ${ledger?.name} of ${ledger?.provider}, which this process does not have. Give it to use: […], or route the callbacks to a process that has it.`,
        { gid, db: ledger },
      );
    }
    return await this.#deps.steps.open({ name: step, args: args === undefined ? undefined : JSON.parse(args) });
  }

  /** This process cannot run the step; another one, or the next release, may. Nothing is counted. */
  #unrunnable(error: unknown): number {
    const { gid, step } = this.#call.message;
    this.#log('error', 'step cannot be run here; DTM will ask again', { error });
    this.#deps.events.emit('step.unrunnable', { gid, step, error });
    return LATER;
  }

  /** A number: the answer, since the step is not to be run now. */
  async #begin(runnable: RunnableStep): Promise<{ readonly attempt: number; readonly intervalMs: number | undefined } | number> {
    const { leaseMs } = this.#deps;
    const said = await this.#sendClaim(runnable);
    if (!said) return LATER;
    switch (said.answer) {
      case 'done':
        return DONE;
      case 'wait':
        return LATER;
      case 'dead':
        if (said.buried) await this.#tellBuried();
        return this.#dead();
      case 'begun':
        if (!this.#stopping && !this.#left && this.#sinceHeld() < leaseMs * (1 - START_MARGIN)) return said;
        await this.#end({ end: 'hand-back' });
        return LATER;
    }
  }

  /** Undefined: no answer. Should the attempt be counted all the same, that is taken back, while DTM hears already that it is to come again. */
  async #sendClaim({ retry }: RunnableStep): Promise<LedgerAnswer | undefined> {
    const { ledger, ref } = this.#ledger;
    const maxAttempts = Number.isFinite(retry.maxAttempts) ? retry.maxAttempts : undefined;
    const claim = { ...this.#key, generation: this.#call.message.generation, maxAttempts, leaseMs: this.#deps.leaseMs };
    for (let tries = 1; ; tries++) {
      this.#sinceHeld = stopwatch();
      try {
        return await ledger.begin(claim, ref);
      } catch (error) {
        if (tries < BEGIN_TRIES && !this.#answered && !this.#stopping) {
          await pause(REPEAT_MS.first * tries);
          continue;
        }
        // Not the doubled interval: it has no cap, and would outlive the outage of the database by as long as that took.
        this.#log('error', 'an attempt could not be counted, so the step is not run now; DTM will ask again', { db: ref, error });
        this.#answerWith(LATER);
        await this.#end({ end: 'hand-back' }, { mayBeNone: true });
        return undefined;
      }
    }
  }

  // ── the attempt ─────────────────────────────────────────────────────────────────────────────────────────────────────

  /** Calls the step's code. Resolves with the first of: its end, its timeout, the lost lease, the end of the process. */
  #attempt(runnable: RunnableStep, attempt: number): Promise<Outcome> {
    const { gid, tenant, step, position } = this.#call.message;
    this.#deps.events.emit('step.started', { gid, tenant, step, stepIndex: position, attempt });
    let ended = false;
    let timer: NodeJS.Timeout | undefined;
    const claim = this.#claim(() => ended || this.#left);
    return new Promise<Outcome>((resolve) => {
      // A promise settles once: what a timed-out run does later changes nothing and writes nothing.
      const settle = (outcome: Outcome) => {
        ended = true;
        resolve(outcome);
      };
      timer = setTimeout(() => {
        const error = stepTimedOut(gid, step, runnable.timeoutMs);
        settle({ kind: 'failed', error });
        this.#controller.abort(error);
      }, runnable.timeoutMs);
      this.#leave = () => settle(LEFT);
      const { signal } = this.#controller;
      const ran = async () => runnable.run({ gid, tenant, stepIndex: position, attempt, signal, claim });
      ran().then(
        () => settle({ kind: 'succeeded' }),
        (error: unknown) => settle({ kind: 'failed', error }),
      );
    }).finally(() => {
      clearTimeout(timer);
      this.#leave = undefined;
    });
  }

  #claim(isOver: () => boolean): Claim {
    const { ledger, ref } = this.#ledger;
    const { leaseMs } = this.#deps;
    // R10: barriers go by their age, and so does the ledger. Whoever slept for so long cannot tell what was there.
    const isForgotten = () => this.#call.since() > ledger.retentionMs / 2;
    return {
      instance: this.#call.message.instance,
      isOld: () => isOver() || isForgotten() || this.#sinceHeld() > leaseMs,
      isStillOurs: async () => !isOver() && !isForgotten() && (await ledger.extend(this.#key, leaseMs, ref)) && !isOver() && !isForgotten(),
      // No job is purged under DTM.
      uses: () => {},
    };
  }

  #renewInTime(): void {
    const { leaseMs } = this.#deps;
    const { ledger, ref } = this.#ledger;
    let timer: NodeJS.Timeout;
    const renewIn = (ms: number) => {
      timer = setTimeout(() => void renew(), ms);
    };
    let over = false;
    const renew = async () => {
      const sinceSent = stopwatch();
      try {
        const ours = await ledger.extend(this.#key, leaseMs, ref);
        if (over) return;
        if (!ours) {
          this.#lose();
          return;
        }
        this.#sinceHeld = sinceSent;
        renewIn(leaseMs / 3);
      } catch (error) {
        if (over) return;
        this.#log('warn', 'the lease of a step could not be renewed; it is tried again', { error, inMs: leaseMs / 10 });
        renewIn(leaseMs / 10);
      }
    };
    renewIn(leaseMs / 3);
    this.#cancelRenewal = () => {
      over = true;
      clearTimeout(timer);
    };
  }

  // ── after ───────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #succeeded(attempt: number, durationMs: number): Promise<number> {
    const { gid, tenant, step, position, of } = this.#call.message;
    if (!(await this.#end({ end: 'done' }))) return LATER;
    const { events } = this.#deps;
    events.emit('step.succeeded', { gid, tenant, step, stepIndex: position, attempt, durationMs });
    if (position === of - 1) events.emit('job.succeeded', { gid, tenant });
    return DONE;
  }

  async #failed(
    runnable: RunnableStep,
    { attempt, intervalMs = this.#deps.retryIntervalMs }: { readonly attempt: number; readonly intervalMs: number | undefined },
    error: unknown,
  ): Promise<number> {
    if (this.#stopping && !SteppingError.is(error, 'STEP_PERMANENT')) {
      // It ended because of the stop, not by a failure of its own.
      await this.#end({ end: 'hand-back' });
      return LATER;
    }
    const delayMs = nextAttemptInMs(runnable.retry, attempt, error);
    if (delayMs === undefined) {
      if (!(await this.#end({ end: 'dead', error: storedError(error) }))) return LATER;
      this.#tellDead(attempt, error);
      return this.#dead();
    }
    // The ledger keeps the time; DTM only has to come often enough, and not much too often. Once it was told "later", its interval is what it was.
    const doubles = !this.#answered && delayMs >= 2 * intervalMs;
    const end: LedgerEnd = { end: 'retry', delayMs, intervalMs: doubles ? 2 * intervalMs : intervalMs, error: storedError(error) };
    if (!(await this.#end(end))) return LATER;
    const { gid, tenant, step, position } = this.#call.message;
    this.#log('warn', 'step failed; will retry', { attempt, delayMs, error });
    const nextAttemptAt = new Date(Date.now() + delayMs);
    this.#deps.events.emit('step.failed', { gid, tenant, step, stepIndex: position, attempt, error, nextAttemptAt });
    return doubles ? LATER_DOUBLED : LATER;
  }

  /** Nothing after a dead step may run: neither "done", nor what DTM would take for a failure and repeat all the same. */
  #dead(): number {
    this.#deps.stopper.stopMessage(this.#call.wireGid);
    return LATER_DOUBLED;
  }

  /** This claim found that the attempts are used up, so nobody has told of it yet. */
  async #tellBuried(): Promise<void> {
    const { ledger, ref } = this.#ledger;
    const { gid, instance, position } = this.#call.message;
    let records: readonly LedgerRecord[] = [];
    try {
      records = await ledger.read(gid, instance, ref);
    } catch (error) {
      this.#log('warn', 'why a step is dead could not be read', { error });
    }
    const { attempts = 0, lastError } = records.find((record) => record.position === position) ?? {};
    this.#tellDead(attempts, new SteppingError('STEP_PERMANENT', lastError?.message ?? 'Its attempts are used up.'));
  }

  #tellDead(attempt: number, error: unknown): void {
    const { gid, tenant, step, position } = this.#call.message;
    this.#log('error', 'step failed for good; the job is a dead letter until it is redriven', { attempt, error });
    this.#deps.events.emit('step.failed', { gid, tenant, step, stepIndex: position, attempt, error, nextAttemptAt: undefined });
    this.#deps.events.emit('job.failed', { gid, tenant, step, error });
  }

  /**
   * True: acknowledged. Without an answer the same write is sent again for the length of a lease; then the step is let go. `mayBeNone`: nobody knows whether there is an attempt of ours to end.
   */
  async #end(end: LedgerEnd, { mayBeNone = false } = {}): Promise<boolean> {
    const { ledger, ref } = this.#ledger;
    const sinceFirst = stopwatch();
    let repeated = false;
    for (let pauseMs = REPEAT_MS.first; !this.#left; pauseMs = Math.min(pauseMs * 2, REPEAT_MS.longest)) {
      try {
        const written = await ledger.end(this.#key, end, ref);
        if (!written && !repeated && !mayBeNone) this.#lose();
        return written;
      } catch (error) {
        if (!repeated) this.#log('warn', 'what became of an attempt could not be written; it is tried again', { end: end.end, error });
        if (sinceFirst() > this.#deps.leaseMs) {
          this.#log('error', 'no answer to a write; the step is let go and is begun anew when its lease ends', { end: end.end, error });
          break;
        }
        repeated = true;
        await pause(pauseMs);
      }
    }
    this.#left = true;
    return false;
  }

  /** Somebody else has the step: stop, abort the signal, write nothing. */
  #lose(): void {
    if (this.#left) return;
    this.#left = true;
    const { gid } = this.#call.message;
    this.#controller.abort(
      new SteppingError(
        'LEASE_LOST',
        `Another process runs this step of job ${gid} now: its lease was not renewed in time. Stop; whoever has it goes on.`,
        { gid },
      ),
    );
    this.#leave?.();
    this.#deps.events.emit('job.lease-lost', { gid });
  }

  get #ledger(): JobLedger {
    return this.#call.ledger as JobLedger;
  }

  get #key(): LedgerKey & { readonly token: string } {
    const { gid, instance, position } = this.#call.message;
    return { gid, instance, position, token: this.#token };
  }

  #log(level: 'warn' | 'error', text: string, fields: object): void {
    const { gid, step } = this.#call.message;
    this.#deps.log[level](text, { gid, step, ...fields });
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
