import type { JobRow } from '../../src/memory-database.js';
import type { ClaimedJob, Save, StoredStatus } from '../../src/transaction-store.js';
import { type Holder, LEASE_MS } from './job-world.js';

/** Where each status may lead. */
const NEXT: Record<StoredStatus, readonly StoredStatus[]> = {
  prepared: ['prepared', 'submitted', 'rolled-back'],
  submitted: ['submitted', 'succeeded', 'failed', 'cancelled'],
  succeeded: ['purging'],
  failed: ['submitted', 'cancelled', 'purging'],
  cancelled: ['purging'],
  'rolled-back': ['prepared', 'submitted', 'purging'],
  purging: ['purging'],
};

/** What was seen of one holder. */
interface Seen {
  /** The last one that it was at, as the row said or as it wrote itself. */
  step: number;
  /** It has started the step that it is at. */
  started: boolean;
  running: boolean;
  /** It may start nothing and write nothing any more: its write was not heard, did not match, or gave the job up. */
  done: boolean;
  /** Its lease went to somebody else while its step was running (true) or while none was (false). */
  lostWhileRunning: boolean | undefined;
  startsAfterLoss: number;
  /** Its last write counted an attempt and was heard; the start is next. */
  countedUnstarted: boolean;
  /** A write of it is on its way. */
  writing: boolean;
}

/** What was seen of one step, since the job came to it, was submitted, redriven or revived. */
interface StepSeen {
  starts: number;
  handBacks: number;
  /** A write that counts attempts was not answered, or its process ended before the start: it costs an attempt. */
  countLost: boolean;
}

/** Looks on while jobs run, for what must never happen. */
export class JobHistory {
  /** The first thing that was wrong. Kept, since whoever runs jobs catches what is thrown at him. */
  violation: Error | undefined;
  readonly #maxAttempts: number;
  readonly #holders = new Map<string, { holder: Holder; seen: Seen }>();
  readonly #steps = new Map<string, StepSeen>();
  readonly #succeeded = new Set<string>();

  constructor(maxAttempts: number) {
    this.#maxAttempts = maxAttempts;
  }

  /** Somebody holds the job now, by a fencing number of his own. */
  claimed(holder: Holder, job: ClaimedJob): void {
    const key = keyOf(holder);
    this.#must(!this.#holders.has(key), `Two hold ${key}`);
    this.#mustBe(job.status, 'submitted', `The status of ${key}`);
    const seen = {
      step: job.step,
      started: false,
      running: false,
      done: false,
      lostWhileRunning: undefined,
      startsAfterLoss: 0,
      countedUnstarted: false,
      writing: false,
    };
    this.#holders.set(key, { holder, seen });
  }

  started(holder: Holder, step: number, row: JobRow | undefined): void {
    const seen = this.#seen(holder);
    const what = `Step ${step} of ${keyOf(holder)}`;
    this.#must(!seen.done, `${what} starts after its holder let the job go`);
    if (row?.lease === holder.lease && row.status === 'submitted') {
      this.#mustBe(step, row.step, `${what} starts, but the job is at ${row.step}`);
      const ofStep = this.#step(row.gid);
      ofStep.starts++;
      this.#must(
        ofStep.starts <= this.#maxAttempts + ofStep.handBacks,
        `${what} starts ${ofStep.starts} times, handed back ${ofStep.handBacks} times`,
      );
    } else {
      // It may not have heard yet of a cancel; nobody else can have the job while its lease runs.
      this.#mustBe(row?.status, 'cancelled', `${what} starts while somebody else has the job, which is ${row?.status}`);
      this.#mustBe(seen.lostWhileRunning, false, `${what} starts after a cancel during the step before`);
      this.#mustBe(++seen.startsAfterLoss, 1, `${what} starts after a cancel, and it is not the first one`);
    }
    seen.started = true;
    seen.running = true;
    seen.countedUnstarted = false;
  }

  /** The code of the step came to its end, be it in time or late. */
  ended(holder: Holder, step: number, succeeded: boolean): void {
    if (succeeded && this.#seen(holder).running) this.#succeeded.add(`${keyOf(holder)}/${step}`);
    this.#seen(holder).running = false;
  }

  sends(holder: Holder, save: Save): void {
    const seen = this.#seen(holder);
    this.#must(!seen.done, `${keyOf(holder)} writes step ${save.step} after it let the job go`);
    seen.running = false;
    seen.writing = true;
    const successOf = `${keyOf(holder)}/${save.step - 1}`;
    if (save.step > seen.step && save.status === 'submitted') {
      this.#must(this.#succeeded.has(successOf), `${keyOf(holder)} goes on to step ${save.step} though the one before did not succeed`);
    }
    if (save.status === 'succeeded')
      this.#must(this.#succeeded.has(successOf), `${keyOf(holder)} ends though its last step did not succeed`);
  }

  /** A write was done. */
  saved(save: Save, holder: Holder | undefined): void {
    // Without letting go of its mark: no step of this process, so somebody else is to look at it later.
    const isCheckpoint = holder !== undefined && this.#succeeded.has(`${keyOf(holder)}/${save.step - 1}`);
    const isPutOff = !save.giveUp && !isCheckpoint && save.dueInMs !== undefined;
    // Without a bound the first lost attempt is counted beside others: it takes nothing from the job.
    const isCount = !save.giveUp && !isPutOff && save.attempt > (this.#maxAttempts === Number.POSITIVE_INFINITY ? 2 : 1);
    const isHandBack = save.giveUp && save.status === 'submitted' && save.error === undefined && save.queue === undefined;
    const seen = holder && this.#seen(holder);
    // Who never started has no attempt to give back.
    if (isHandBack && seen?.started !== false) this.#step(save.gid).handBacks++;
    if (!seen) return;
    seen.writing = false;
    if (isCount) seen.countedUnstarted = true;
    else seen.started = false;
    seen.step = save.step;
    if (save.giveUp || isPutOff) seen.done = true;
  }

  /** The holder learned that its write did not match or that its lease is gone, or learned nothing. */
  letGo(holder: Holder | undefined, save?: Save): void {
    if (save && !save.giveUp) this.#step(save.gid).countLost = true;
    if (holder) this.#seen(holder).done = true;
  }

  /**
   * A step took its whole process along while it was starting: no neighbour may have been charged for an attempt by a silent holder, and not have started yet. But for one whose
   * charge took nearly all of its lease: it starts nothing any more.
   */
  killedBy(killer: Holder, leaseLeftMs: (holder: Holder) => number): void {
    for (const { holder, seen } of this.#holders.values()) {
      if (holder.worker !== killer.worker || !holder.takenOver || seen.writing || seen.done || leaseLeftMs(holder) < LEASE_MS / 5) continue;
      this.#must(!seen.countedUnstarted, `${keyOf(killer)} kills ${keyOf(holder)}, which is counted and not started`);
    }
  }

  /** A row was written: what it says must follow from what it said. */
  written(before: JobRow | undefined, after: JobRow | undefined): void {
    if (!after) {
      this.#mustBe(before?.status, 'purging', `The status of ${before?.gid}, which is deleted`);
      return;
    }
    const what = `${after.gid}, ${before?.status} at ${before?.step}/${before?.attempt}/${before?.lease}, becomes ${after.status} at ${after.step}/${after.attempt}/${after.lease}`;
    const isOpen = after.status === 'prepared' || after.status === 'submitted';
    this.#mustBe(after.dueAt !== undefined, isOpen || (after.status === 'purging' && after.dueAt !== undefined), what);
    if (!isOpen) this.#must(!after.held && after.finishedAt !== undefined, what);
    if (!before) {
      this.#newStep(after.gid);
      return;
    }
    this.#must(NEXT[before.status].includes(after.status), what);
    this.#must(after.lease === before.lease || after.lease === before.lease + 1, what);
    if (after.status !== before.status && before.status !== 'prepared') this.#mustBe(after.lease, before.lease + 1, what);
    if (after.instance !== before.instance) this.#mustBe(before.status, 'rolled-back', what);
    if (before.status === 'submitted') this.#advanced(before, after, what);
    if (after.step !== before.step || (after.status === 'submitted' && before.status !== 'submitted')) this.#newStep(after.gid);
    if (after.status === 'failed' && after.error?.message.startsWith('Worker lost')) this.#lostWorker(after, what);
    if (after.lease !== before.lease) this.#fenceMoved(before);
  }

  #advanced(before: JobRow, after: JobRow, what: string): void {
    this.#must(after.step === before.step || after.step === before.step + 1, what);
    if (after.step > before.step) this.#mustBe(after.attempt, 1, what);
    else if (after.status === 'submitted') {
      // Back by one: the mark of a last attempt that was handed back.
      const back = after.attempt === before.attempt - 1 && after.lease > before.lease && before.attempt > this.#maxAttempts;
      this.#must(after.attempt === before.attempt || after.attempt === before.attempt + 1 || back, what);
    }
    if (after.status === 'succeeded') this.#mustBe(after.step, JSON.parse(after.steps).steps.length, what);
  }

  #lostWorker({ gid }: JobRow, what: string): void {
    const { starts, countLost } = this.#step(gid);
    this.#must(starts > 0 || countLost, `${what}: its worker is called lost, but nobody ever started it`);
  }

  #fenceMoved({ gid, lease }: JobRow): void {
    const known = this.#holders.get(keyOf({ gid, lease }));
    if (!known) return;
    known.seen.lostWhileRunning ??= known.seen.running;
    // Its process ended, or its lease, before it came to the start.
    if (known.seen.countedUnstarted) this.#step(gid).countLost = true;
  }

  #must(holds: boolean, what: string): void {
    if (!holds) this.violation ??= new Error(what);
  }

  #mustBe(actual: unknown, expected: unknown, what: string): void {
    this.#must(actual === expected, `${what} (${actual}, not ${expected})`);
  }

  #seen(holder: Holder): Seen {
    return (this.#holders.get(keyOf(holder)) as { seen: Seen }).seen;
  }

  #step(gid: string): StepSeen {
    return this.#steps.get(gid) ?? this.#newStep(gid);
  }

  #newStep(gid: string): StepSeen {
    const seen = { starts: 0, handBacks: 0, countLost: false };
    this.#steps.set(gid, seen);
    return seen;
  }
}

function keyOf({ gid, lease }: { gid: string; lease: number }): string {
  return `${gid}:${lease}`;
}
