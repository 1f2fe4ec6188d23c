import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { SteppingEvents } from '../../events.js';
import type { Job, JobOptions } from '../../job.js';
import type { JobInfo } from '../../jobs.js';
import { unchecked } from '../../schema.js';
import { type AnyStep, defineStep, type RunContext } from '../../step.js';
import type { Stepping } from '../../stepping.js';
import { SteppingError, type SteppingErrorCode } from '../../stepping-error.js';
import type { HeldTestTransaction, TransactionManagerHarness } from '../describe-transaction-manager.js';

/** Long enough for a transaction manager that comes back every few seconds. Unit: ms. */
const WAIT_MS = 30_000;
/** Between two looks. Unit: ms. */
const PAUSE_MS = 20;
/** Of every step: long enough to look at a job between two attempts. Unit: ms. */
const RETRY = { minDelayMs: 500, maxDelayMs: 500 };

/** Args of every step. */
export interface Note {
  readonly text: string;
}

/** What a step was called with. */
export type Call = Pick<RunContext<Note, object>, 'args' | 'attempt' | 'gid' | 'tenant' | 'idempotencyKey' | 'signal' | 'createJob'> & {
  readonly step: string;
  /** Unit: ms, monotonic. */
  readonly at: number;
  /** For `once`. */
  readonly context: RunContext<Note, object>;
};

export type Behaviour = (call: Call) => unknown;

/** Steps that do what each test wants for its own job. `limited` has two attempts, `hasty` 300 ms. */
export interface SceneSteps {
  readonly first: ReturnType<typeof stepOf>;
  readonly second: ReturnType<typeof stepOf>;
  readonly third: ReturnType<typeof stepOf>;
  readonly limited: ReturnType<typeof stepOf>;
  readonly hasty: ReturnType<typeof stepOf>;
}

const EVENTS = [
  'job.submitted',
  'job.succeeded',
  'job.failed',
  'job.cancelled',
  'job.rolled-back',
  'job.submit-deferred',
  'step.started',
  'step.succeeded',
  'step.failed',
  'step.unrunnable',
] as const satisfies readonly (keyof SteppingEvents)[];

/** A transaction manager and a business database, the apps that were started on them, and what happened to each job. */
export class Scene {
  readonly harness: TransactionManagerHarness;
  readonly steps: SceneSteps;
  readonly #apps: Stepping[] = [];
  readonly #held: HeldTestTransaction[] = [];
  readonly #behaviours = new Map<string, Behaviour>();
  readonly #calls: Call[] = [];
  readonly #told: { readonly name: (typeof EVENTS)[number]; readonly payload: any }[] = [];

  constructor(harness: TransactionManagerHarness) {
    this.harness = harness;
    const run = (step: string) => (context: RunContext<Note, object>) => this.#run(step, context);
    this.steps = {
      first: stepOf('first', run),
      second: stepOf('second', run),
      third: stepOf('third', run),
      limited: stepOf('limited', run, { retry: { maxAttempts: 2 } }),
      hasty: stepOf('hasty', run, { timeoutMs: 300 }),
    };
  }

  /** The one that was started last. */
  get app(): Stepping {
    const app = this.#apps.at(-1);
    assert.ok(app, 'No app was started.');
    return app;
  }

  async openApp(steps: readonly AnyStep[] = Object.values(this.steps)): Promise<Stepping> {
    const app = await this.harness.openApp({ steps, retry: RETRY });
    this.#apps.push(app);
    for (const name of EVENTS) app.on(name, (payload) => void this.#told.push({ name, payload }));
    return app;
  }

  /** A job whose steps behave like this; left out: they succeed. */
  job(behaviour?: Behaviour, options: JobOptions = {}): Job {
    const job = this.app.createJob(options);
    if (behaviour) this.#behaviours.set(job.gid, behaviour);
    return job;
  }

  /** Ended with the scene. */
  async begin(): Promise<HeldTestTransaction> {
    const held = await this.harness.beginTransaction();
    this.#held.push(held);
    return held;
  }

  calls(gid: string): readonly Call[] {
    return this.#calls.filter((call) => call.gid === gid);
  }

  /** Which attempts of which steps were made, as `second 1`. */
  attempts(gid: string): readonly string[] {
    return this.calls(gid).map(({ step, attempt }) => `${step} ${attempt}`);
  }

  /** Events of a job, in order. */
  told(gid: string): readonly { readonly name: (typeof EVENTS)[number]; readonly payload: any }[] {
    return this.#told.filter(({ payload }) => payload.gid === gid);
  }

  async finished(gid: string): Promise<JobInfo> {
    return this.app.jobs.wait(gid, { timeoutMs: WAIT_MS });
  }

  async succeeded(gid: string): Promise<JobInfo> {
    const job = await this.finished(gid);
    assert.equal(job.status, 'succeeded', job.lastError?.message);
    return job;
  }

  async statusOf(gid: string): Promise<string | undefined> {
    return (await this.app.jobs.find(gid))?.status;
  }

  async close(): Promise<void> {
    for (const held of this.#held) await held.end();
    await Promise.all(this.#apps.map((app) => app.stop({ drainTimeoutMs: 0 })));
    await this.harness.close();
  }

  async #run(step: string, context: RunContext<Note, object>): Promise<void> {
    const { args, attempt, gid, tenant, idempotencyKey, signal, createJob } = context;
    const call = { step, args, attempt, gid, tenant, idempotencyKey, signal, createJob, at: performance.now(), context };
    this.#calls.push(call);
    await this.#behaviours.get(gid)?.(call);
  }
}

function stepOf(
  name: string,
  run: (step: string) => (context: RunContext<Note, object>) => unknown,
  options: { readonly retry?: { readonly maxAttempts: number }; readonly timeoutMs?: number } = {},
) {
  return defineStep({ name: `conformance.${name}`, args: unchecked<Note>(), ...options, run: run(name) });
}

/** Waits until the condition holds. */
export async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + WAIT_MS; !(await holds()); await sleep(PAUSE_MS)) {
    assert.ok(performance.now() < end, `${what}: not within ${WAIT_MS} ms`);
  }
}

/** Fails unless `work` rejects with this code. */
export async function rejectsWith(work: Promise<unknown>, code: SteppingErrorCode): Promise<void> {
  const error = await work.then(
    () => assert.fail(`It was expected to fail with ${code}, but did not.`),
    (reason: unknown) => reason,
  );
  assert.ok(SteppingError.is(error), `It was expected to fail with ${code}, but failed with ${String(error)}`);
  assert.equal(error.code, code, error.message);
}

/** Opens by hand. */
export interface Gate {
  readonly opened: Promise<void>;
  open(): void;
}

export function aGate(): Gate {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { opened: promise, open: resolve };
}

/** Settles when the signal is aborted, and never otherwise. */
export function aborted(signal: AbortSignal): Promise<unknown> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve(signal.reason);
    signal.addEventListener('abort', () => resolve(signal.reason), { once: true });
  });
}
