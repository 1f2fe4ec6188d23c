import { afterAll, beforeAll, it, jest } from '@jest/globals';
import {
  type EventEmitter,
  type LedgerAnswer,
  type LedgerClaim,
  type LedgerEnd,
  type LedgerKey,
  permanent,
  type RunnableStep,
  type StepLedger,
  silentLogger,
} from '@stepping/core';
import fc from 'fast-check';
import { property } from '../../../test/properties.js';
import { MessageStopper } from '../src/message-stopper.js';
import { ProcessLedger } from '../src/process-ledger.js';
import { StepCallbacks } from '../src/step-callback.js';
import { aStepMessage } from './support/callbacks.js';

const STEPS = 2;
const MAX_ATTEMPTS = 3;
const LEASE_MS = 10_000;
const TIMEOUT_MS = 60_000;

/** What becomes of one call of the ledger: it is answered, maybe so late that little is left of a lease; it never comes; or it is done, and nobody hears of it. */
type Fault = 'answered' | 'late' | 'not sent' | 'not heard';
const LATE_MS = 9_500;
/** How a step goes that was started. `ignores`: it does not end. */
interface Deed {
  readonly takesMs: number;
  readonly end: 'succeeds' | 'fails' | 'fails for good' | 'ignores';
}
type Move =
  /** DTM sends the callback of the step that it is at, or once more one that was answered. */
  | { readonly kind: 'deliver'; readonly to: 0 | 1; readonly again: boolean }
  | { readonly kind: 'wait'; readonly ms: number }
  /** A process does not reach the ledger. */
  | { readonly kind: 'cut'; readonly which: 0 | 1; readonly ms: number }
  /** A process falls silent: nothing that it sends comes any more, and its steps, which know nothing of that, go on. Another one takes its place. */
  | { readonly kind: 'kill'; readonly which: 0 | 1 }
  /** A process is stopped, and another one takes its place. */
  | { readonly kind: 'stop'; readonly which: 0 | 1 };

beforeAll(() => {
  jest.useFakeTimers({ doNotFake: ['nextTick', 'queueMicrotask', 'setImmediate'] });
});
afterAll(() => {
  jest.useRealTimers();
});

it('steps run in order, no oftener than they may, by one process at a time, and never after they were done or dead, whatever becomes of ledgers, processes and callbacks', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(aMove, { minLength: 1, maxLength: 25 }),
      fc.array(aFault, { maxLength: 40 }),
      fc.array(aDeed, { maxLength: 12 }),
      async (moves, faults, deeds) => {
        const world = new World(faults, deeds);
        for (const move of moves) await world.make(move);
        await world.comesToAnEnd();
      },
    ),
    property(300),
  );
});

const process = fc.constantFrom<0 | 1>(0, 1);
const aMove = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('deliver' as const), to: process, again: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('wait' as const), ms: fc.constantFrom(0, 50, 1_000, 4_000, 11_000, 70_000) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constantFrom('kill', 'stop'), which: process }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('cut' as const), which: process, ms: fc.constantFrom(1_000, 15_000, 30_000) }) },
);
const aFault = fc.oneof(
  { weight: 6, arbitrary: fc.constant<Fault>('answered') },
  { weight: 3, arbitrary: fc.constantFrom<Fault>('not sent', 'not heard') },
  { weight: 1, arbitrary: fc.constant<Fault>('late') },
);
const aDeed: fc.Arbitrary<Deed> = fc.record({
  takesMs: fc.constantFrom(0, 100, 6_000, 25_000),
  end: fc.constantFrom('succeeds', 'succeeds', 'fails', 'fails for good', 'ignores'),
});

interface Process {
  steps: StepCallbacks;
  isSilent: boolean;
  isStopping: boolean;
  /** On the monotonic clock. Unit: ms. */
  cutUntil: number;
}

/** An attempt that is written down as begun, and nobody has tried to end. */
interface Attempt {
  readonly position: number;
  readonly process: Process;
  isStarted: boolean;
  /** When it was last written down that it holds its step. */
  heldSince: number;
  /** A renewal of its lease was not answered, or late. */
  hasTrouble: boolean;
}

/** One job, two processes, one ledger. */
class World {
  readonly #remembered = new ProcessLedger();
  readonly #faults: Fault[];
  readonly #deeds: Deed[];
  readonly #processes: [Process, Process];
  /** Of attempts that were started. */
  #handBacks = 0;
  /** The step that DTM is at. */
  #at = 0;
  readonly #starts = [0, 0];
  readonly #succeeded = [false, false];
  /** By token. */
  readonly #attempts = new Map<string, Attempt>();
  #toldFailed = 0;
  #violation: Error | undefined;

  constructor(faults: readonly Fault[], deeds: readonly Deed[]) {
    this.#faults = [...faults];
    this.#deeds = [...deeds];
    this.#processes = [this.#newProcess(), this.#newProcess()];
  }

  async make(move: Move): Promise<void> {
    switch (move.kind) {
      case 'deliver':
        this.#deliver(move.to, move.again && this.#at > 0 ? this.#at - 1 : this.#at);
        await jest.advanceTimersByTimeAsync(0);
        break;
      case 'wait':
        await jest.advanceTimersByTimeAsync(move.ms);
        break;
      case 'kill':
        this.#processes[move.which].isSilent = true;
        this.#processes[move.which] = this.#newProcess();
        break;
      case 'stop': {
        const stopping = this.#processes[move.which];
        this.#processes[move.which] = this.#newProcess();
        stopping.isStopping = true;
        void stopping.steps.stop(1_000);
        break;
      }
      case 'cut':
        this.#processes[move.which].cutUntil = performance.now() + move.ms;
        break;
    }
    if (this.#violation) throw this.#violation;
  }

  /** With a ledger that answers and steps that succeed, DTM gets to the end, or to a step that is dead. */
  async comesToAnEnd(): Promise<void> {
    this.#faults.length = 0;
    this.#deeds.length = 0;
    for (let calls = 0; this.#at < STEPS && !(await this.#isDead()); calls++) {
      this.#must(calls < 30, 'The job does not come to its end');
      await this.make({ kind: 'deliver', to: 0, again: false });
      await this.make({ kind: 'wait', ms: 11_000 });
    }
    const records = await this.#remembered.read('order-1', 'an-instance');
    const dead = records.filter(({ state }) => state === 'dead');
    this.#must(this.#toldFailed <= dead.length, 'That the job failed is told more than once');
  }

  async #isDead(): Promise<boolean> {
    return (await this.#remembered.read('order-1', 'an-instance')).some(({ state }) => state === 'dead');
  }

  #deliver(to: 0 | 1, position: number): void {
    if (position >= STEPS) return;
    const since = watch();
    const message = aStepMessage({ position, of: STEPS, ledger: { provider: 'p', name: 'n' } });
    void this.#processes[to].steps.answer(message, 'wire', since).then(async (status) => {
      if (status !== 200) return;
      this.#must(this.#succeeded[position] === true, `Step ${position} is told as done, and never succeeded`);
      await this.#mustBeDone(position);
      if (position === this.#at) this.#at++;
    });
  }

  async #mustBeDone(position: number): Promise<void> {
    const records = await this.#remembered.read('order-1', 'an-instance');
    const record = records.find((one) => one.position === position);
    this.#must(record?.state === 'done', `Step ${position} is told as done, and is written down as ${record?.state}`);
  }

  #newProcess(): Process {
    const process = { isSilent: false, isStopping: false, cutUntil: 0 } as Process;
    const events: EventEmitter = {
      hasListeners: () => true,
      emit: (event, payload) => {
        if (event === 'job.failed') this.#toldFailed++;
        if (event === 'step.succeeded') void this.#mustBeDone((payload as { stepIndex: number }).stepIndex);
      },
    };
    const database = { ledger: this.#ledgerOf(process) } as never;
    process.steps = new StepCallbacks({
      steps: { open: () => this.#runnable(process), has: () => true, queues: () => [], bounded: () => [] },
      databases: { find: () => database, all: () => [database], add() {} },
      events,
      log: silentLogger,
      stopper: new MessageStopper({ server: { forceStop: async () => 'refused' }, log: silentLogger }),
      retryIntervalMs: 10_000,
      patienceMs: 4_500,
      leaseMs: LEASE_MS,
    });
    return process;
  }

  #runnable(process: Process): RunnableStep {
    return {
      retry: { maxAttempts: MAX_ATTEMPTS, minDelayMs: 1_000, maxDelayMs: 10_000 },
      timeoutMs: TIMEOUT_MS,
      run: async ({ stepIndex, attempt }) => {
        await this.#started(process, stepIndex, attempt);
        const deed = this.#deeds.shift() ?? { takesMs: 0, end: 'succeeds' };
        if (deed.takesMs > 0) await new Promise((resolve) => setTimeout(resolve, deed.takesMs));
        if (deed.end === 'ignores') await new Promise(() => {});
        if (deed.end === 'fails') throw new Error('not now');
        if (deed.end === 'fails for good') throw permanent('never');
        this.#succeeded[stepIndex] = true;
      },
    };
  }

  async #started(process: Process, position: number, attempt: number): Promise<void> {
    this.#starts[position] = (this.#starts[position] as number) + 1;
    const what = `Attempt ${attempt} of step ${position}`;
    this.#must((this.#starts[position] as number) <= MAX_ATTEMPTS + this.#handBacks, `${what} is the ${this.#starts[position]}th`);
    this.#must(attempt <= MAX_ATTEMPTS, `${what} has no place`);
    this.#must(position <= this.#at, `${what} starts before the one before it is done`);

    const known = [...this.#attempts.values()].filter((one) => one.position === position);
    const mine = known.findLast((one) => one.process === process && !one.isStarted);
    this.#must(mine !== undefined, `${what} starts and is not counted`);
    for (const one of known) if (one !== mine) this.#must(isOver(one), `${what} starts while another one holds the step`);
    if (mine) {
      this.#must(performance.now() - mine.heldSince < LATE_MS, `${what} starts at the end of its lease`);
      mine.isStarted = true;
    }
    const record = (await this.#remembered.read('order-1', 'an-instance')).find((one) => one.position === position);
    this.#must(record?.state === 'open', `${what} starts although the step is ${record?.state}`);
  }

  /** The ledger, on a line where each call may get lost. */
  #ledgerOf(process: Process): StepLedger {
    const ledger = this.#remembered;
    const attempts = this.#attempts;
    const on = async <R>(work: () => Promise<R>): Promise<R> => {
      if (process.isSilent) return new Promise<never>(() => {});
      const fault = performance.now() < process.cutUntil ? 'not sent' : (this.#faults.shift() ?? 'answered');
      if (fault === 'not sent') throw new Error('connection refused');
      const answer = await work();
      if (fault === 'not heard') throw new Error('connection lost');
      if (fault === 'late') await new Promise((resolve) => setTimeout(resolve, LATE_MS));
      return answer;
    };
    return {
      retentionMs: ledger.retentionMs,
      begin: (claim: LedgerClaim): Promise<LedgerAnswer> =>
        on(async () => {
          const answer = await ledger.begin(claim);
          const { position, token } = claim;
          const attempt = { position, process, isStarted: false, heldSince: performance.now(), hasTrouble: false };
          if (answer.answer === 'begun') attempts.set(token, attempt);
          return answer;
        }),
      async extend(key: LedgerKey & { readonly token: string }, leaseMs: number) {
        const attempt = attempts.get(key.token);
        const sentAt = performance.now();
        try {
          return await on(async () => {
            const ours = await ledger.extend(key, leaseMs);
            if (ours && attempt) attempt.heldSince = performance.now();
            return ours;
          });
        } catch (error) {
          if (attempt) attempt.hasTrouble = true;
          throw error;
        } finally {
          if (attempt && performance.now() > sentAt) attempt.hasTrouble = true;
        }
      },
      end: (key: LedgerKey & { readonly token: string }, end: LedgerEnd) => {
        const attempt = attempts.get(key.token);
        attempts.delete(key.token);
        return on(async () => {
          const written = await ledger.end(key, end);
          // What is handed back by a process that goes on is none that may be started once more.
          if (written && end.end === 'hand-back' && attempt?.isStarted && process.isStopping) this.#handBacks++;
          return written;
        });
      },
      read: (gid, instance) => on(() => ledger.read(gid, instance)),
    };
  }

  #must(holds: boolean, otherwise: string): void {
    if (!holds) this.#violation ??= new Error(otherwise);
  }
}

/** Somebody else may have the step: nobody could renew its lease, and it is over. One that has no trouble never loses it. */
function isOver({ process, hasTrouble, heldSince }: Attempt): boolean {
  const mayBeOver = hasTrouble || process.isSilent || process.isStopping;
  return mayBeOver && performance.now() - heldSince >= LEASE_MS;
}

function watch(): () => number {
  const at = performance.now();
  return () => performance.now() - at;
}
