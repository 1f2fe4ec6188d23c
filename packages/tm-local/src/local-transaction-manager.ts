import {
  type DbTransaction,
  type Enlisted,
  type FoundJob,
  type InDoubtAnswer,
  type JobStatus,
  type NewJob,
  type StartAnswer,
  SteppingError,
  type TransactionManager,
} from '@stepping/core';
import { verdictByRow } from './answers.js';
import type { Clock } from './clock.js';
import { firstLease } from './first-lease.js';
import { GroupCommit, WriteGivenUp } from './group-commit.js';
import { jobInfo } from './job-info.js';
import type { LocalOperations } from './operations.js';
import type { Place, ProcessorLink } from './processor-link.js';
import { MIN_RETENTION_MS } from './purge.js';
import { queryBackQueue } from './query-back.js';
import { decodeSteps, encodeSteps } from './stored-steps.js';
import {
  type Change,
  type ChangeAnswer,
  type ClaimedJob,
  type CreateAnswer,
  type CreateJob,
  type EnlistedStore,
  type TransactionStore,
  WriteRefused,
} from './transaction-store.js';

/** A plain start repeats an unheard write for so long. Unit: ms. */
const START_REPEAT_MS = 10_000;
/** A submit that is not heard by then is left to the query-back. Unit: ms. */
const SUBMIT_REPEAT_MS = 2_000;
/** How long a create waits, alone, for a gid that is uncommitted in somebody's transaction. Unit: ms. */
const LOCKED_WAIT_MS = 5_000;
/** Bound of the creates that wait for the store. Unit: bytes. */
const MAX_QUEUED_BYTES = 64 * 1024 * 1024;
/** Prepared jobs remembered between prepare and submit; of one that was forgotten the store is asked. In characters of their stored steps. */
const MAX_REMEMBERED = 16 * 1024 * 1024;

/** A job between prepare and submit, and the queue of its first step. */
interface Prepared {
  readonly row: CreateJob;
  readonly queue: string;
}

/** The local TM: jobs go through group commit into a {@link TransactionStore}; a processor of this or another process runs them. */
export class LocalTransactionManager implements TransactionManager {
  readonly operations: LocalOperations;
  readonly #store: TransactionStore;
  readonly #clock: Clock;
  readonly #link: ProcessorLink;
  readonly #prepareTimeoutMs: number;
  readonly #creates: GroupCommit<CreateJob, CreateAnswer>;
  readonly #changes: GroupCommit<Change, ChangeAnswer>;
  readonly #prepared = new Map<string, Prepared>();
  #rememberedChars = 0;

  constructor(deps: { store: TransactionStore; clock: Clock; link: ProcessorLink; operations: LocalOperations; prepareTimeoutMs: number }) {
    this.#store = deps.store;
    this.#clock = deps.clock;
    this.#link = deps.link;
    this.operations = deps.operations;
    this.#prepareTimeoutMs = deps.prepareTimeoutMs;
    const { store, clock } = deps;
    this.#creates = new GroupCommit({
      send: (batch) => store.create(batch),
      clock,
      maxBatch: store.maxBatch,
      maxBytes: MAX_QUEUED_BYTES,
      sizeOf: (job) => job.steps.length,
    });
    this.#changes = new GroupCommit({ send: (batch) => store.change(batch), clock, maxBatch: store.maxBatch });
  }

  async start(job: NewJob): Promise<StartAnswer> {
    this.#refuseOwnTurn(job.gid);
    const place = this.#link.reserve(firstQueue(job));
    const row = this.#submittedRow(job, place);
    const sentAt = this.#clock.monotonicMs();
    let answer: CreateAnswer;
    try {
      answer = await this.#create(row, START_REPEAT_MS);
    } catch (error) {
      place?.forget();
      throw startError(job.gid, error);
    }
    // A repeat that finds the row as my first, unheard write left it holds that write's claim.
    const mine =
      answer.outcome === 'stored' || (answer.outcome === 'repeated' && answer.status === 'submitted' && answer.lease === row.lease);
    if (mine) this.#afterSubmit(row, (answer as { lease: number }).lease, place, sentAt);
    else place?.forget();
    return startAnswer(answer);
  }

  async prepare(job: NewJob): Promise<StartAnswer> {
    this.#refuseOwnTurn(job.gid);
    const db = job.db;
    if (!db) throw new SteppingError('DB_UNKNOWN', `Job ${job.gid} is to be prepared without a database.`, { gid: job.gid });
    const row: CreateJob = {
      ...this.#row(job),
      status: 'prepared',
      queue: queryBackQueue(db),
      held: false,
      dueInMs: this.#prepareTimeoutMs,
    };
    let answer: CreateAnswer;
    try {
      // Sent once: a prepare in doubt is never sent again (A2).
      answer = await this.#create(row, 0);
    } catch (error) {
      throw prepareError(job.gid, error);
    }
    if (answer.outcome === 'stored') this.#remember({ row: { ...row, lease: answer.lease }, queue: firstQueue(job) });
    return startAnswer(answer, 'prepared');
  }

  async submit(gid: string, instance: string): Promise<boolean> {
    const prepared = this.#recall(gid, instance) ?? (await this.#readPrepared(gid, instance));
    if (!prepared) return false;
    const { row, queue } = prepared;
    const place = this.#link.reserve(queue);
    const sentAt = this.#clock.monotonicMs();
    const change: Change = {
      gid,
      instance,
      from: ['prepared'],
      to: 'submitted',
      queue,
      dueInMs: place?.leaseMs ?? 0,
      held: place !== undefined,
      error: undefined,
      mayBeLost: place === undefined, // run after submit is a claim, too: it is on the disk before the step begins
    };
    try {
      const { answer, repeated } = await this.#changes.add(change, SUBMIT_REPEAT_MS);
      const lease = answer.changed ? answer.lease : repeated ? await this.#leaseOfUnheard(change, row.lease + 1) : undefined;
      if (lease !== undefined) this.#afterSubmit({ ...row, queue, held: place !== undefined }, lease, place, sentAt);
      else place?.forget();
      return lease !== undefined;
    } catch (error) {
      place?.forget();
      throw error instanceof WriteGivenUp ? error.cause : error;
    }
  }

  /** The lease of a job that my own first, unheard write submitted: as it left it, nobody has claimed or changed the row since. */
  async #leaseOfUnheard({ gid, instance, held }: Change, lease: number): Promise<number | undefined> {
    const found = await this.#store.find(gid);
    if (!found || found.instance !== instance || found.status !== 'submitted' || found.held !== held) return undefined;
    return found.lease === lease ? lease : undefined;
  }

  async abort(gid: string, instance: string): Promise<boolean> {
    this.#recall(gid, instance);
    const change: Change = {
      gid,
      instance,
      from: ['prepared'],
      to: 'rolled-back',
      queue: undefined,
      dueInMs: 0,
      held: false,
      error: undefined,
      mayBeLost: true,
    };
    return (await this.#changes.add(change, 0)).answer.changed;
  }

  async find(gid: string): Promise<FoundJob | undefined> {
    const stored = await this.#store.find(gid);
    return stored && { ...jobInfo(stored), status: stored.status, instance: stored.instance };
  }

  enlist(transaction: DbTransaction): Enlisted | undefined {
    const store = this.#store.enlist?.(transaction.native);
    if (store) return this.#enlisted(store, transaction);
    if (this.#store.turns?.heldByCaller()) {
      throw new SteppingError(
        'STORE_REFUSED',
        `The job store and this transaction use the same file, ${this.#store.turns.key}, through two connections: each would wait for the other. Give typeormStore and typeormDb the same DataSource.`,
      );
    }
    return undefined;
  }

  #enlisted(store: EnlistedStore, transaction: DbTransaction): Enlisted {
    let row: CreateJob | undefined;
    let place: Place | undefined;
    let lease = 0;
    let sentAt = this.#clock.monotonicMs();
    const forget = () => {
      place?.forget();
      place = undefined;
    };
    return {
      prepare: async (job, { claimed }) => {
        place = claimed ? this.#link.reserve(firstQueue(job)) : undefined;
        row = this.#submittedRow(job, place);
        sentAt = this.#clock.monotonicMs();
        try {
          const answer = await store.create(row, claimed && job.drawn ? transaction.withCommit : undefined);
          if (answer.outcome === 'stored') lease = answer.lease;
          else forget();
          return startAnswer(answer);
        } catch (error) {
          forget();
          throw error;
        }
      },
      committed: () => {
        if (!row) return;
        this.#afterSubmit(row, lease, place, sentAt);
        place = undefined;
      },
      abandoned: forget,
      resolve: async (gid, instance) => {
        const answer = await this.#store.resolve(gid, instance);
        // Past half the retention a missing row may have been purged: only the positive answer is sure (R9). Counted from before the commit, to be safe.
        if (answer === 'rolled-back' && this.#clock.monotonicMs() - sentAt > MIN_RETENTION_MS / 2) return 'unknown' satisfies InDoubtAnswer;
        return answer;
      },
      hasCommitted: async (gid, instance) => {
        const found = await this.#store.find(gid);
        return found !== undefined && verdictByRow(instance, found) === 'committed';
      },
    };
  }

  /** Creates a row, alone if its gid is locked by somebody's transaction; locked to the end means in doubt. */
  async #create(row: CreateJob, repeatForMs: number): Promise<CreateAnswer> {
    const { answer, repeated } = await this.#creates.add(row, repeatForMs);
    if (answer.outcome !== 'locked') return answer;
    let alone: CreateAnswer;
    try {
      alone = await this.#store.createAlone(row, LOCKED_WAIT_MS);
    } catch (error) {
      if (error instanceof WriteRefused && !repeated) throw error;
      throw new WriteGivenUp(repeated || !SteppingError.is(error, 'STORE_UNAVAILABLE'), error);
    }
    // The transaction that holds the gid may be that of my own first write, which nobody heard of: it may still commit.
    if (alone.outcome === 'locked' && repeated)
      throw new WriteGivenUp(true, new Error('Its gid stayed locked after a write without an answer'));
    return alone;
  }

  #row(job: NewJob): Pick<CreateJob, 'gid' | 'instance' | 'tenant' | 'db' | 'steps' | 'lease'> {
    const { gid, instance, tenant, db } = job;
    return { gid, instance, tenant, db, steps: encodeSteps(job.steps), lease: firstLease() };
  }

  #submittedRow(job: NewJob, place: Place | undefined): CreateJob {
    return { ...this.#row(job), status: 'submitted', queue: firstQueue(job), held: place !== undefined, dueInMs: place?.leaseMs ?? 0 };
  }

  /** The job is stored and acknowledged: run it here if it was stored claimed, else have somebody look. */
  #afterSubmit(row: CreateJob, lease: number, place: Place | undefined, sentAt: number): void {
    if (!place) {
      this.#link.wake(row.queue, 0);
      return;
    }
    const { gid, instance, queue, tenant, db, steps } = row;
    const job: ClaimedJob = {
      gid,
      instance,
      lease,
      status: 'submitted',
      queue,
      step: 0,
      attempt: 1,
      wasHeld: false,
      tenant,
      db,
      steps,
      ageMs: 0,
    };
    place.run(job, sentAt);
  }

  #remember(prepared: Prepared): void {
    const { gid, steps } = prepared.row;
    this.#forget(gid);
    this.#prepared.set(gid, prepared);
    this.#rememberedChars += steps.length;
    for (const gid of this.#prepared.keys()) {
      if (this.#rememberedChars <= MAX_REMEMBERED) break;
      this.#forget(gid);
    }
  }

  #forget(gid: string): void {
    this.#rememberedChars -= this.#prepared.get(gid)?.row.steps.length ?? 0;
    this.#prepared.delete(gid);
  }

  #recall(gid: string, instance: string): Prepared | undefined {
    const prepared = this.#prepared.get(gid);
    if (prepared?.row.instance !== instance) return undefined;
    this.#forget(gid);
    return prepared;
  }

  async #readPrepared(gid: string, instance: string): Promise<Prepared | undefined> {
    const stored = await this.#store.find(gid);
    if (stored?.instance !== instance || stored.status !== 'prepared') return undefined;
    const { queue, tenant, db, steps, lease } = stored;
    const row: CreateJob = { gid, instance, status: 'prepared', queue, tenant, db, steps, lease, held: false, dueInMs: 0 };
    return { row, queue: decodeSteps(steps)[0]?.queue ?? 'default' };
  }

  #refuseOwnTurn(gid: string): void {
    const { turns } = this.#store;
    if (!turns?.heldByCaller()) return;
    throw new SteppingError(
      'TX_NESTED',
      `Job ${gid} was started inside a transaction on ${turns.key}, the file that the job store writes to: it would wait for itself. Add its steps to the \`job\` that inTransaction hands you, or start it after the transaction.`,
      { gid },
    );
  }
}

function firstQueue(job: NewJob): string {
  return job.steps[0]?.queue ?? 'default';
}

function startAnswer(answer: CreateAnswer, stored: JobStatus = 'submitted'): StartAnswer {
  switch (answer.outcome) {
    case 'stored':
      return { outcome: 'stored', status: stored };
    case 'repeated':
      return { outcome: 'stored', status: answer.status };
    case 'duplicate':
      return answer;
    case 'in-doubt':
    case 'locked':
      return { outcome: 'in-doubt' };
  }
}

/** In doubt is not the caller's doubt: the barrier is taken out of its transaction, so nothing of the job will run. */
function prepareError(gid: string, error: unknown): unknown {
  return error instanceof WriteGivenUp && error.sent ? error.cause : startError(gid, error);
}

function startError(gid: string, error: unknown): unknown {
  if (error instanceof WriteRefused) return error.cause ?? error;
  if (!(error instanceof WriteGivenUp)) return error;
  if (!error.sent) {
    return new SteppingError(
      'STORE_UNAVAILABLE',
      `The job store could not be reached; nothing was written of job ${gid}. Start it again when the store is back.`,
      {
        gid,
        cause: error.cause,
      },
    );
  }
  return new SteppingError(
    'START_OUTCOME_UNKNOWN',
    `The job store did not answer: job ${gid} may be stored or not. Start it again with the same gid, { gid: '${gid}' }: it will not run twice.`,
    { gid, cause: error.cause },
  );
}
