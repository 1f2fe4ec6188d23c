import { type Logger, SteppingError } from '@stepping/core';
import { type ClaimedJob, type JobRun, type LocalEngine, type LocalProcessor, type Place, Slots } from '@stepping/tm-local';
import { Pace } from './pace.js';
import { repeat } from './repeat.js';
import { WakeUp } from './wake-up.js';

/** Most jobs claimed ahead, whatever the pace: what a crash may have to wait a lease for. */
const MAX_IN_FLIGHT = 1_000;
/** As so many claims come the jobs in flight: measured, four keep both the database and this process busy. */
const CLAIMS_IN_FLIGHT = 4;
/** Least time between two looks that found nothing. Unit: ms. */
const MIN_LOOK_MS = 50;
/** A query-back may have to wait for a place, a connection and a lock; its claim outlives that. Unit: ms. */
const QUESTION_LEASE_MS = 30_000;
/** Poll where the store gives hints, and where not. Unit: ms. */
const POLL_WITH_HINTS_MS = 5_000;
const POLL_MS = 1_000;
/** After an error of the store. Unit: ms. */
const ERROR_PAUSE_MS = 1_000;
/** How often old jobs are looked for: a scan of the table, so not often. The first time after a minute. Unit: ms. */
const RETENTION_EVERY_MS = 600_000;
const RETENTION_FIRST_MS = 60_000;
const RETENTION_PAUSE_MS = 100;
/** What aborted handlers get to end in, after the drain. Unit: ms. */
const ABORT_GRACE_MS = 500;

/** Options of {@link hostedProcessor}. */
export interface ProcessorOptions {
  /** Handlers that run at the same time. A job that waits for its commit counts for none. Default 16. */
  concurrency?: number | undefined;
  /** Longest time between two looks for due jobs. Default 1 000; 5 000 where the store gives hints (PostgreSQL). Unit: ms. */
  maxPollMs?: number | undefined;
  /** What `stop()` waits for running handlers, unless it is told otherwise. Default 10 000. Unit: ms. */
  drainTimeoutMs?: number | undefined;
  /** Serve only these. Default: the queues of all steps of this process. */
  queues?: readonly string[] | undefined;
  /** On SIGTERM and SIGINT: stop, then let the signal end the process. Default false. */
  handleSignals?: boolean | undefined;
}

/** Claims due jobs and runs them until it is stopped. Nothing thrown anywhere ends it, and nothing in it loops without a wait. */
export class Processor implements LocalProcessor {
  readonly #engine: LocalEngine;
  readonly #log: Required<Logger>;
  readonly #slots: Slots;
  readonly #open: ReturnType<LocalEngine['opener']>;
  readonly #concurrency: number;
  readonly #maxPollMs: number;
  readonly #drainTimeoutMs: number;
  readonly #stepQueues: ReadonlySet<string>;
  readonly #questionQueues: ReadonlySet<string>;
  readonly #pace: Pace;
  readonly #wakeUp: WakeUp;
  readonly #runs = new Set<JobRun>();
  readonly #questions = new Map<string, number>();
  /** Queues to claim from without asking first: woken, or with more due than the last claim took. */
  readonly #ready = new Set<string>();
  #reserved = 0;
  #nextDueAt = 0;
  #askedAt = Number.NEGATIVE_INFINITY;
  #looked = false;
  /** Something is due that there was no room for. */
  #waitsForRoom = false;
  #stopping = false;
  #idle: (() => void) | undefined;
  #loopEnded = true;
  #stopped: Promise<void> | undefined;
  readonly #endings: (() => void)[] = [];

  constructor(deps: { engine: LocalEngine; log: Required<Logger>; options: ProcessorOptions }) {
    const { engine, log, options } = deps;
    this.#engine = engine;
    this.#log = log;
    this.#concurrency = options.concurrency ?? 16;
    this.#maxPollMs = options.maxPollMs ?? (engine.store.onDue ? POLL_WITH_HINTS_MS : POLL_MS);
    this.#drainTimeoutMs = options.drainTimeoutMs ?? 10_000;
    this.#slots = new Slots(this.#concurrency, engine.clock);
    this.#open = engine.opener({ slots: this.#slots, serves: (queue) => this.#stepQueues.has(queue) });
    this.#pace = new Pace(engine.clock.monotonicMs());
    this.#wakeUp = new WakeUp(engine.clock);
    this.#stepQueues = new Set(options.queues ?? engine.stepQueues);
    this.#questionQueues = new Set(engine.queryBackQueues());
    for (const queue of this.#stepQueues) {
      if (engine.stepQueues.includes(queue)) continue;
      throw new SteppingError(
        'CONFIG_INVALID',
        `hostedProcessor({ queues }) names ${queue}, but no step of this process is in it. Its queues are: ${engine.stepQueues.join(', ') || 'none'}.`,
        { queue },
      );
    }
  }

  start(): void {
    const { store, clock, leaseMs } = this.#engine;
    this.#endings.push(this.#engine.link(this));
    const unsubscribe = store.onDue?.(() => {
      for (const queue of this.#stepQueues) this.#ready.add(queue);
      this.#wakeUp.call();
    });
    if (unsubscribe) this.#endings.push(unsubscribe);
    this.#endings.push(repeat(clock, leaseMs / 3, () => this.#renew()));
    this.#endings.push(repeat(clock, RETENTION_FIRST_MS, () => this.#removeOld()));
    this.#loopEnded = false;
    void this.#lookForJobs().finally(() => {
      this.#loopEnded = true;
      this.#roomFreed();
    });
  }

  /** Claims and starts nothing more; what runs goes on to the end of its step. Whatever waits for a slot was never started, and is handed back. */
  quiesce(): void {
    if (this.#stopping) return;
    this.#stopping = true;
    this.#wakeUp.call();
    for (const run of this.#runs) run.stop();
    this.#slots.close();
    this.#engine.suspects.close();
  }

  /** Ends within `drainTimeoutMs` + 1 s, also when called from a step. Twice is one promise. */
  stop(drainTimeoutMs: number | undefined): Promise<void> {
    this.#stopped ??= this.#drain(drainTimeoutMs ?? this.#drainTimeoutMs);
    return this.#stopped;
  }

  reserve(queue: string): Place | undefined {
    // Not before the first look: until then nobody knows whether there is a backlog to be jumped.
    if (this.#stopping || !this.#looked || !this.#stepQueues.has(queue) || this.#ready.has(queue) || this.#room() <= 0) return undefined;
    this.#reserved++;
    let open = true;
    const close = () => {
      if (!open) return false;
      open = false;
      this.#reserved--;
      return true;
    };
    return {
      leaseMs: this.#engine.leaseMs,
      run: (job, sentAt) => {
        if (close()) this.#run(job, sentAt);
      },
      forget: close,
    };
  }

  wake(queue: string, dueInMs: number): boolean {
    if (this.#stopping || !(this.#stepQueues.has(queue) || this.#questionQueues.has(queue))) return false;
    if (dueInMs === 0) {
      this.#ready.add(queue);
      this.#wakeUp.call();
      return this.#room() > 0;
    }
    const dueAt = this.#engine.clock.monotonicMs() + dueInMs;
    if (dueAt < this.#nextDueAt) {
      this.#nextDueAt = dueAt;
      this.#wakeUp.call();
    }
    return true;
  }

  async #lookForJobs(): Promise<void> {
    const { clock } = this.#engine;
    while (!this.#stopping) {
      let pauseMs = 0;
      try {
        pauseMs = await this.#look();
      } catch (error) {
        this.#log.error('the store could not be asked for due jobs; it is asked again', { error, inMs: ERROR_PAUSE_MS });
        await this.#pause(ERROR_PAUSE_MS);
      }
      if (!this.#stopping && pauseMs > 0)
        await this.#wakeUp.sleep(Math.min(pauseMs, Math.max(this.#nextDueAt - clock.monotonicMs(), MIN_LOOK_MS)));
    }
  }

  /** One look: claims from the queues that are ready, or else asks which are due. Answers how long to sleep; a wake-up cuts it short. Unit: ms. */
  async #look(): Promise<number> {
    // A backlog of one queue must not hide what is due in another.
    if (this.#ready.size === 0 || this.#engine.clock.monotonicMs() - this.#askedAt >= this.#maxPollMs) {
      const sleepMs = await this.#askWhatIsDue();
      if (this.#ready.size === 0) return sleepMs;
    }
    let claimed = 0;
    this.#waitsForRoom = false;
    const queues = [...this.#ready];
    for (const [i, queue] of queues.entries()) {
      if (this.#stopping) return 0;
      const limit = this.#questionQueues.has(queue)
        ? this.#engine.queryBack.maxInFlight(queue) - (this.#questions.get(queue) ?? 0)
        : this.#claimLimit(queues.length - i);
      if (limit <= 0) {
        this.#waitsForRoom = true;
        continue;
      }
      claimed += await this.#claim(queue, limit);
    }
    // Whoever frees room calls.
    if (this.#waitsForRoom) return claimed > 0 ? 0 : this.#maxPollMs;
    if (claimed === 0) await this.#pause(MIN_LOOK_MS);
    // Nothing is left ready: see when the next job is due.
    return 0;
  }

  async #askWhatIsDue(): Promise<number> {
    const { store, clock } = this.#engine;
    this.#askedAt = clock.monotonicMs();
    this.#nextDueAt = this.#askedAt + this.#maxPollMs;
    const dueInMs = await store.nextDueInMs([...this.#stepQueues, ...this.#questionQueues]);
    this.#looked = true;
    let soonestMs = this.#maxPollMs;
    for (const [queue, ms] of dueInMs) {
      if (ms <= 0) this.#ready.add(queue);
      else soonestMs = Math.min(soonestMs, ms);
    }
    if (this.#ready.size > 0) return 0;
    this.#nextDueAt = Math.min(this.#nextDueAt, clock.monotonicMs() + soonestMs);
    return Math.max(soonestMs, MIN_LOOK_MS);
  }

  async #claim(queue: string, limit: number): Promise<number> {
    const { store, clock, leaseMs } = this.#engine;
    const isQuestion = this.#questionQueues.has(queue);
    // Before the claim: a wake-up that comes while it runs must not be lost.
    this.#ready.delete(queue);
    const sentAt = clock.monotonicMs();
    let jobs: readonly ClaimedJob[];
    try {
      jobs = await store.claimDue({ queue, limit, leaseMs: isQuestion ? QUESTION_LEASE_MS : leaseMs });
    } catch (error) {
      this.#ready.add(queue);
      throw error;
    }
    if (jobs.length >= limit) this.#ready.add(queue);
    for (const job of jobs) {
      if (isQuestion) this.#ask(queue, job);
      else this.#run(job, sentAt);
    }
    return jobs.length;
  }

  #run(job: ClaimedJob, claimSentAt: number): void {
    const run = this.#open(job, claimSentAt);
    this.#runs.add(run);
    if (this.#stopping) run.stop();
    void run.run().then(() => {
      this.#runs.delete(run);
      this.#roomFreed();
    });
  }

  #ask(queue: string, job: ClaimedJob): void {
    this.#questions.set(queue, (this.#questions.get(queue) ?? 0) + 1);
    void this.#engine.queryBack.resolve(job, { patient: false }).finally(() => {
      this.#questions.set(queue, (this.#questions.get(queue) ?? 1) - 1);
      if (this.#ready.has(queue)) this.#wakeUp.call();
      this.#roomFreed();
    });
  }

  /** How many more jobs may be in flight: the handlers, and what can start within a third of the lease at the pace observed. */
  #room(): number {
    const suspects = Math.min(this.#engine.suspects.waiting, MAX_IN_FLIGHT);
    return this.#inFlightLimit() - (this.#runs.size - suspects + this.#reserved);
  }

  #inFlightLimit(): number {
    const { clock, leaseMs } = this.#engine;
    const ahead = this.#pace.observe(this.#slots.taken, clock.monotonicMs()) * (leaseMs / 3);
    return Math.min(this.#concurrency + Math.floor(ahead), Math.max(MAX_IN_FLIGHT, this.#concurrency));
  }

  /**
   * Shared by the queues still to be claimed from. A part of what may be in flight, no more: all that is claimed together goes on together, and the database would rest
   * while its steps run, and they while it commits. And no less while there are two jobs for every handler: small claims cost a statement each.
   */
  #claimLimit(queues: number): number {
    const limit = this.#inFlightLimit();
    const part = Math.max(1, Math.min(limit / CLAIMS_IN_FLIGHT, limit - 2 * this.#concurrency));
    const room = this.#room();
    return room < part ? 0 : Math.ceil(Math.min(room, Math.max(part, this.#concurrency)) / queues);
  }

  #roomFreed(): void {
    if (this.#waitsForRoom && this.#claimLimit(1) > 0) this.#wakeUp.call();
    if (this.#isIdle()) this.#idle?.();
  }

  #isIdle(): boolean {
    return this.#loopEnded && this.#runs.size === 0 && this.#questionsOpen() === 0;
  }

  #questionsOpen(): number {
    let open = 0;
    for (const count of this.#questions.values()) open += count;
    return open;
  }

  /** All running jobs in one statement; one that is gone has its signal aborted. */
  async #renew(): Promise<number> {
    const { leaseMs, suspects } = this.#engine;
    // Claimed at a pace that is no more: whoever has waited for a whole lease goes to a process that has room.
    this.#slots.dismiss(leaseMs);
    suspects.dismiss(leaseMs);
    try {
      await this.#extend([...this.#runs].filter((run) => run.renewable).sort((a, b) => (a.gid < b.gid ? -1 : 1)));
      return leaseMs / 3;
    } catch (error) {
      this.#log.warn('leases could not be renewed; it is tried again', { error, inMs: leaseMs / 10 });
      return leaseMs / 10;
    }
  }

  async #extend(renewable: readonly JobRun[]): Promise<void> {
    const { store, clock, leaseMs } = this.#engine;
    const size = store.maxBatch ?? MAX_IN_FLIGHT;
    // A job that was not renewed in time may have been claimed once more by this very process. The answer is by gid, so each of the two runs asks for itself.
    const twice = renewable.filter((run, i) => run.gid === renewable[i - 1]?.gid);
    const once = twice.length === 0 ? renewable : renewable.filter((run, i) => run.gid !== renewable[i - 1]?.gid);
    for (let i = 0; i < once.length; i += size) {
      const batch = once.slice(i, i + size);
      const sentAt = clock.monotonicMs();
      const kept = await store.extend(
        batch.map(({ gid, lease }) => ({ gid, lease })),
        leaseMs,
      );
      for (const run of batch) {
        if (kept.has(run.gid)) run.renewed(sentAt);
        else run.leaseGone();
      }
    }
    if (twice.length > 0) await this.#extend(twice);
  }

  async #removeOld(): Promise<number> {
    const { purger, retentionMs, failedRetentionMs } = this.#engine;
    try {
      const { more } = await purger.purgeBatch({ finishedMsAgo: retentionMs, failedMsAgo: failedRetentionMs });
      // Not in step with other services on this store: rows whose database only they have must sometimes be theirs to take up.
      return more ? RETENTION_PAUSE_MS : RETENTION_EVERY_MS * (0.5 + Math.random());
    } catch (error) {
      this.#log.error('old jobs could not be removed; it is tried again', { error, inMs: RETENTION_EVERY_MS });
      return RETENTION_EVERY_MS;
    }
  }

  async #pause(ms: number): Promise<void> {
    await new Promise<void>((resolve) => this.#engine.clock.setTimeout(resolve, ms));
  }

  async #drain(drainTimeoutMs: number): Promise<void> {
    this.quiesce();
    await this.#untilIdle(drainTimeoutMs);
    for (const run of this.#runs) run.abort();
    await this.#untilIdle(ABORT_GRACE_MS);
    for (const run of this.#runs) run.abandon();
    for (const end of this.#endings) end();
  }

  async #untilIdle(ms: number): Promise<void> {
    if (this.#isIdle()) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = this.#engine.clock.setTimeout(resolve, ms);
    this.#idle = resolve;
    await promise;
    cancel();
  }
}
