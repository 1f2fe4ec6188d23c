import assert from 'node:assert/strict';
import { permanent, type RunnableStep, retryAfter, SteppingError, type SteppingEvents, silentLogger } from '@stepping/core';
import type { Clock } from '../../src/clock.js';
import { type Acknowledged, WriteGivenUp } from '../../src/group-commit.js';
import { JobRun, type JobRunDeps } from '../../src/job-run.js';
import { type JobRow, MemoryDatabase } from '../../src/memory-database.js';
import { MemoryTransactionStore } from '../../src/memory-store.js';
import { QueryBack } from '../../src/query-back.js';
import { Slots } from '../../src/slots.js';
import { StartGate } from '../../src/start-gate.js';
import { encodeSteps } from '../../src/stored-steps.js';
import { virtualClock } from '../../src/testing/virtual-clock.js';
import { type ClaimedJob, type Save, WriteRefused } from '../../src/transaction-store.js';
import { UnrunnableBackoff } from '../../src/unrunnable-backoff.js';
import { JobHistory } from './job-history.js';

export const LEASE_MS = 10_000;
const QUESTIONS = '~db/memory/orders';
const DAY_MS = 86_400_000;
const TIMEOUT_MS = 15_000;

export interface JobPlan {
  readonly steps: number;
  readonly prepared: boolean;
  /** The last of several steps belongs to a queue that only one of the workers serves. */
  readonly elsewhere: boolean;
}

/** What becomes of a write that a worker sent. */
export type Fate = 'done' | 'done twice' | 'done, unheard' | 'refused' | 'lost' | 'lands later';
export type End = 'succeeds' | 'fails' | 'fails for good' | 'asks to wait';

/** A claimed job in one worker: everything that is known of its run. */
export interface Holder {
  readonly gid: string;
  readonly lease: number;
  readonly worker: Worker;
  readonly run: JobRun;
  /** The attempt was counted before its start, because the last holder went silent. */
  readonly takenOver: boolean;
}

interface SentSave {
  readonly holder: Holder | undefined;
  readonly save: Save;
  readonly resolve: (acknowledged: Acknowledged<boolean>) => void;
  readonly reject: (error: unknown) => void;
}

interface RunningAttempt {
  readonly holder: Holder;
  readonly step: number;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

interface Transaction {
  readonly gid: string;
  readonly instance: string;
  outcome: 'open' | 'committed' | 'rolled-back';
}

class Worker {
  readonly gate = new StartGate();
  readonly suspects: Slots;
  readonly slots: Slots;
  readonly holders: Holder[] = [];
  readonly queues: readonly string[];
  alive = true;
  stopping = false;
  /** A release that does not know the steps of now. */
  outdated = false;

  constructor(queues: readonly string[], clock: Clock) {
    this.queues = queues;
    this.suspects = new Slots(1, clock);
    this.slots = new Slots(2, clock);
  }
}

/**
 * Workers on one store, in which nothing happens by itself: time, the answers to writes and the ends of steps come when they are told to. {@link JobHistory} looks at
 * every row that is written and every step that starts.
 */
export class JobWorld {
  readonly clock = virtualClock();
  readonly history: JobHistory;
  readonly sent: SentSave[] = [];
  readonly late: Save[] = [];
  readonly running: RunningAttempt[] = [];
  readonly transactions: Transaction[] = [];
  readonly gids: readonly string[];
  readonly workers: [Worker, Worker] = [new Worker(['default'], this.clock), new Worker(['default', 'elsewhere'], this.clock)];
  /** The next step of these kills its process in the moment in which it starts. */
  readonly lethal = new Set<string>();
  readonly #database = new MemoryDatabase('default');
  readonly #store = new MemoryTransactionStore(this.#database);
  /** What may go wrong here. */
  readonly faults: readonly string[];
  readonly #plans: readonly JobPlan[];
  readonly #maxAttempts: number;
  #instances = 0;

  constructor(plans: readonly JobPlan[], faults: readonly string[], maxAttempts: number) {
    this.faults = faults;
    this.#plans = plans;
    this.#maxAttempts = maxAttempts;
    this.#database.clock = this.clock;
    this.gids = plans.map((_, i) => `g${i + 1}`);
    this.history = new JobHistory(maxAttempts);
    const { jobs } = this.#database;
    const write = jobs.write.bind(jobs);
    jobs.write = (gid, value, by) => {
      const before = jobs.read(gid);
      write(gid, value, by);
      this.history.written(before, value);
    };
  }

  row(gid: string): JobRow | undefined {
    return this.#database.jobs.read(gid);
  }

  /** A job of this gid, by a new call of its caller: anew, a revival, or refused. */
  async create(gid: string, worker?: Worker): Promise<void> {
    const plan = this.#plans[this.gids.indexOf(gid)] as JobPlan;
    const instance = `i${++this.#instances}`;
    const held = worker !== undefined && !plan.prepared;
    const steps = encodeSteps(
      Array.from({ length: plan.steps }, (_, i) => {
        const queue = plan.elsewhere && i > 0 && i === plan.steps - 1 ? 'elsewhere' : 'default';
        return { name: `step-${i}`, queue, args: undefined };
      }),
    );
    const sentAt = this.clock.monotonicMs();
    const [answer] = await this.#store.create([
      {
        gid,
        instance,
        status: plan.prepared ? 'prepared' : 'submitted',
        queue: plan.prepared ? QUESTIONS : 'default',
        tenant: undefined,
        db: plan.prepared ? { provider: 'memory', name: 'orders' } : undefined,
        steps,
        lease: 1_000 * this.#instances,
        held,
        dueInMs: plan.prepared || held ? LEASE_MS : 0,
      },
    ]);
    if (answer?.outcome !== 'stored') return;
    if (plan.prepared) this.transactions.push({ gid, instance, outcome: 'open' });
    if (held && worker) this.#open(worker, this.#asClaimed(gid, answer.lease), sentAt);
    await this.settle();
  }

  /** A submit or abort may follow, or come much later, or never. */
  async endTransaction(transaction: Transaction, outcome: 'committed' | 'rolled-back'): Promise<void> {
    transaction.outcome = outcome;
  }

  async submit({ gid, instance }: Transaction, worker?: Worker): Promise<void> {
    const sentAt = this.clock.monotonicMs();
    const held = worker !== undefined;
    const [answer] = await this.#store.change([
      {
        gid,
        instance,
        from: ['prepared'],
        to: 'submitted',
        queue: 'default',
        dueInMs: held ? LEASE_MS : 0,
        held,
        error: undefined,
      },
    ]);
    if (answer?.changed && worker) this.#open(worker, this.#asClaimed(gid, answer.lease), sentAt);
    await this.settle();
  }

  async abort({ gid, instance }: Transaction): Promise<void> {
    await this.#store.change([
      { gid, instance, from: ['prepared'], to: 'rolled-back', queue: undefined, dueInMs: 0, held: false, error: undefined },
    ]);
  }

  async operator(gid: string, to: 'submitted' | 'cancelled'): Promise<void> {
    const from = to === 'submitted' ? (['failed'] as const) : (['submitted', 'failed'] as const);
    await this.#store.change([{ gid, instance: undefined, from, to, queue: undefined, dueInMs: 0, held: false, error: undefined }]);
  }

  async claim(worker: Worker): Promise<void> {
    const sentAt = this.clock.monotonicMs();
    for (const queue of worker.queues) {
      for (const job of await this.#store.claimDue({ queue, limit: 3, leaseMs: LEASE_MS })) this.#open(worker, job, sentAt);
    }
    await this.settle();
  }

  async queryBack(): Promise<void> {
    const databases = {
      all: () => [],
      find: () => ({
        resolveInDoubt: async (gid: string, instance: string) => {
          const { outcome } = this.transactions.find((t) => t.gid === gid && t.instance === instance) ?? { outcome: 'open' };
          return outcome === 'open' ? 'unknown' : outcome;
        },
      }),
    };
    const events = { emit() {}, hasListeners: () => false };
    const save = (save: Save) => this.#send(undefined, save);
    const queryBack = new QueryBack({ save, databases: databases as never, events, log: silentLogger, clock: this.clock, putBack() {} });
    for (const job of await this.#store.claimDue({ queue: QUESTIONS, limit: 3, leaseMs: LEASE_MS })) void queryBack.resolve(job);
    await this.settle();
  }

  async answer(sent: SentSave, fate: Fate): Promise<void> {
    this.sent.splice(this.sent.indexOf(sent), 1);
    const { holder, save, resolve, reject } = sent;
    const land = async () => {
      const landed = (await this.#store.save([save])).has(save.gid);
      if (landed) this.history.saved(save, holder);
      return landed;
    };
    switch (fate) {
      case 'done': {
        const answer = await land();
        if (!answer) this.history.letGo(holder);
        resolve({ answer, repeated: false });
        break;
      }
      case 'done twice': {
        await land();
        const answer = await land();
        if (!answer) this.history.letGo(holder);
        resolve({ answer, repeated: true });
        break;
      }
      case 'refused':
        this.history.letGo(holder, save);
        reject(new WriteRefused('no'));
        break;
      case 'done, unheard':
        await land();
        this.history.letGo(holder, save);
        reject(new WriteGivenUp(true, new Error('unheard')));
        break;
      case 'lands later':
        this.late.push(save);
        this.history.letGo(holder, save);
        reject(new WriteGivenUp(true, new Error('unheard')));
        break;
      case 'lost':
        this.history.letGo(holder, save);
        reject(new WriteGivenUp(true, new Error('lost')));
    }
    await this.settle();
  }

  async land(save: Save): Promise<void> {
    this.late.splice(this.late.indexOf(save), 1);
    if ((await this.#store.save([save])).has(save.gid)) this.history.saved(save, undefined);
  }

  async end(attempt: RunningAttempt, how: End): Promise<void> {
    this.running.splice(this.running.indexOf(attempt), 1);
    this.history.ended(attempt.holder, attempt.step, how === 'succeeds');
    if (how === 'succeeds') attempt.resolve();
    if (how === 'fails') attempt.reject(new Error('boom'));
    if (how === 'fails for good') attempt.reject(permanent('no'));
    if (how === 'asks to wait') attempt.reject(retryAfter(5_000));
    await this.settle();
  }

  /** As a processor does it. */
  async renew(worker: Worker): Promise<void> {
    worker.slots.dismiss(LEASE_MS);
    worker.suspects.dismiss(LEASE_MS);
    for (const holder of worker.holders.filter(({ run }) => run.renewable)) {
      const sentAt = this.clock.monotonicMs();
      const kept = await this.#store.extend([holder], LEASE_MS);
      if (kept.has(holder.gid)) holder.run.renewed(sentAt);
      else holder.run.leaseGone();
    }
    await this.settle();
  }

  crash(worker: Worker): void {
    worker.alive = false;
    this.#forget(worker);
  }

  async stop(worker: Worker): Promise<void> {
    worker.stopping = true;
    for (const { run } of worker.holders) run.stop();
    worker.slots.close();
    await this.settle();
  }

  async abortRuns(worker: Worker): Promise<void> {
    for (const { run } of worker.holders) run.abort();
    await this.settle();
  }

  /** The process of a stopped worker ends. */
  async exit(worker: Worker): Promise<void> {
    for (const { run } of worker.holders) run.abandon();
    await this.settle();
    this.crash(worker);
  }

  async advance(ms: number): Promise<void> {
    await this.clock.advance(ms);
  }

  /** A day passes, and what ended is purged. */
  async purge(): Promise<void> {
    await this.clock.advance(DAY_MS);
    await this.#store.finishPurge(await this.#store.startPurge({ finishedMsAgo: DAY_MS, failedMsAgo: DAY_MS, limit: 100 }));
  }

  /** From here on all goes well: whatever is not at its end yet must come to it. */
  async comeToAnEnd(): Promise<void> {
    for (const worker of this.workers) this.crash(worker);
    this.lethal.clear();
    for (const transaction of this.transactions) if (transaction.outcome === 'open') transaction.outcome = 'rolled-back';
    for (const save of [...this.late]) await this.land(save);
    const isOpen = (gid: string) => this.row(gid)?.dueAt !== undefined;
    for (let round = 0; this.gids.some(isOpen); round++) {
      assert.ok(round < 100, `Some job never ends: ${JSON.stringify(this.gids.map((gid) => this.row(gid)))}`);
      const nextDueAt = Math.min(...this.gids.map((gid) => this.row(gid)?.dueAt ?? Number.POSITIVE_INFINITY));
      await this.advance(Math.max(0, nextDueAt - this.clock.now()));
      await this.queryBack();
      await this.claim(this.workers[1]);
      while (this.sent.length + this.running.length > 0) {
        for (const sent of [...this.sent]) await this.answer(sent, 'done');
        for (const attempt of [...this.running]) await this.end(attempt, 'succeeds');
      }
      this.check();
    }
    for (const { gid, instance, outcome } of this.transactions) {
      const row = this.row(gid);
      if (row?.instance === instance)
        assert.equal(row.status === 'rolled-back', outcome === 'rolled-back', `${gid} is ${row.status}, but ${outcome}`);
    }
  }

  /** Everything goes on that can go on without time passing. */
  async settle(): Promise<void> {
    for (let turn = 0; turn < 2; turn++) await new Promise((resolve) => setImmediate(resolve));
  }

  /** Fails if anything happened so far that must never happen. */
  check(): void {
    if (this.history.violation) throw this.history.violation;
  }

  #asClaimed(gid: string, lease: number): ClaimedJob {
    const { instance, steps } = this.row(gid) as JobRow;
    return {
      gid,
      instance,
      lease,
      steps,
      status: 'submitted',
      queue: 'default',
      step: 0,
      attempt: 1,
      wasHeld: false,
      tenant: undefined,
      db: undefined,
      ageMs: 0,
    };
  }

  #open(worker: Worker, job: ClaimedJob, sentAt: number): void {
    const deps: JobRunDeps = {
      save: (save) => this.#send(holder, save),
      holds: async ({ gid, lease }) => this.row(gid)?.lease === lease,
      steps: {
        queues: () => ['default'],
        has: () => true,
        bounded: () => [],
        open: async ({ name }) => {
          if (worker.outdated) throw new SteppingError('STEP_NOT_RUNNABLE', `no ${name}`);
          return this.#runnable(holder, Number(name.slice(5)));
        },
      },
      events: {
        emit: <K extends keyof SteppingEvents>(event: K, _payload: SteppingEvents[K]) => {
          if (event === 'job.lease-lost') this.history.letGo(holder);
        },
        hasListeners: () => true,
      },
      log: silentLogger,
      clock: this.clock,
      gate: worker.gate,
      suspects: worker.suspects,
      unrunnable: new UnrunnableBackoff(),
      slots: worker.slots,
      leaseMs: LEASE_MS,
      serves: (queue) => worker.queues.includes(queue),
      putBack() {},
    };
    const run = new JobRun(deps, job, sentAt);
    const takenOver = job.wasHeld && job.attempt < this.#maxAttempts;
    const holder: Holder = { gid: job.gid, lease: job.lease, worker, run, takenOver };
    worker.holders.push(holder);
    this.history.claimed(holder, job);
    if (worker.stopping) run.stop();
    void run.run().then(() => {
      const i = worker.holders.indexOf(holder);
      if (i >= 0) worker.holders.splice(i, 1);
    });
  }

  #runnable(holder: Holder, step: number): RunnableStep {
    return {
      retry: { maxAttempts: this.#maxAttempts, minDelayMs: 1_000, maxDelayMs: 60_000 },
      timeoutMs: TIMEOUT_MS,
      run: () => {
        if (!holder.worker.alive) return new Promise(() => {});
        this.history.started(holder, step, this.row(holder.gid));
        if (this.lethal.delete(holder.gid)) {
          this.history.killedBy(holder, ({ gid }) => (this.row(gid)?.dueAt ?? 0) - this.clock.now());
          this.crash(holder.worker);
          return new Promise(() => {});
        }
        return new Promise((resolve, reject) => this.running.push({ holder, step, resolve, reject }));
      },
    };
  }

  #send(holder: Holder | undefined, save: Save): Promise<Acknowledged<boolean>> {
    if (holder && !holder.worker.alive) return new Promise(() => {});
    if (holder) this.history.sends(holder, save);
    return new Promise((resolve, reject) => this.sent.push({ holder, save, resolve, reject }));
  }

  /** A process is gone: nothing that it waits for comes any more, and another one takes its place. */
  #forget(worker: Worker): void {
    const ofOthers = <T extends { holder: Holder | undefined }>(list: T[]) =>
      list.splice(0, list.length, ...list.filter(({ holder }) => holder?.worker !== worker));
    ofOthers(this.sent);
    ofOthers(this.running);
    const i = this.workers.indexOf(worker);
    if (i >= 0) this.workers[i] = new Worker(worker.queues, this.clock);
  }
}
