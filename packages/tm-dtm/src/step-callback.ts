import type { DbProviders, DbRef, EventEmitter, Logger, StepLedger, Steps } from '@stepping/core';
import { LATER } from './answer.js';
import { ownLedger } from './ledger-of-job.js';
import type { MessageStopper } from './message-stopper.js';
import { ProcessLedger } from './process-ledger.js';
import type { StepMessage } from './step-message.js';
import { StepRun } from './step-run.js';

/** After the signals were aborted: for steps to end, and for writes that say so. Unit: ms. */
const ABORT_GRACE_MS = 500;

/** What a run needs of the process around it. */
export interface StepCallbacksDeps {
  readonly steps: Steps;
  readonly databases: DbProviders;
  readonly events: EventEmitter;
  readonly log: Required<Logger>;
  readonly stopper: MessageStopper;
  readonly retryIntervalMs: number;
  /** After this DTM no longer waits for an answer. Unit: ms. */
  readonly patienceMs: number;
  readonly leaseMs: number;
}

/** A ledger, and how it is asked for the database of this job. */
export interface JobLedger {
  readonly ledger: StepLedger;
  readonly ref: DbRef;
}

const NO_DATABASE: DbRef = { provider: 'process', name: 'process' };

/** The steps that run in this process. All callbacks of one step that come while it runs have one run, and one answer. */
export class StepCallbacks {
  readonly #deps: StepCallbacksDeps;
  readonly #inProcess = new ProcessLedger();
  readonly #runs = new Map<string, StepRun>();
  #quiescing = false;
  #idle: (() => void) | undefined;

  constructor(deps: StepCallbacksDeps) {
    this.#deps = deps;
  }

  /** `since`: how long ago the callback came. */
  answer(message: StepMessage, wireGid: string, since: () => number): Promise<number> {
    const key = JSON.stringify([message.gid, message.instance, message.position, message.generation]);
    const running = this.#runs.get(key);
    if (running) return running.answer;
    if (this.#quiescing) return Promise.resolve(LATER);
    const run = new StepRun(this.#deps, { message, wireGid, ledger: this.#ledgerOf(message), since });
    this.#runs.set(key, run);
    void run.ended.finally(() => {
      this.#runs.delete(key);
      if (this.#runs.size === 0) this.#idle?.();
    });
    return run.answer;
  }

  quiesce(): void {
    this.#quiescing = true;
  }

  /** Ends within `drainTimeoutMs` + half a second. */
  async stop(drainTimeoutMs: number): Promise<void> {
    this.quiesce();
    await this.#untilIdle(drainTimeoutMs);
    for (const run of this.#runs.values()) run.abort();
    await this.#untilIdle(ABORT_GRACE_MS);
    for (const run of this.#runs.values()) run.abandon();
  }

  /** Undefined: the database that keeps it is not known here. */
  #ledgerOf({ ledger: named, tenant }: StepMessage): JobLedger | undefined {
    const ref = named ?? ownLedger(this.#deps.databases, tenant);
    if (!ref) return { ledger: this.#inProcess, ref: NO_DATABASE };
    const ledger = this.#deps.databases.find(ref)?.ledger;
    return ledger && { ledger, ref };
  }

  async #untilIdle(ms: number): Promise<void> {
    if (this.#runs.size === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = setTimeout(resolve, ms);
    this.#idle = resolve;
    await promise;
    clearTimeout(timer);
  }
}
