import type { DbRef, InDoubtAnswer, JobStatus, Turns } from '@stepping/core';

/**
 * Where the local TM keeps its jobs: one row (or document) per job. Implemented by `memoryStore`, `@stepping/tm-local-typeorm` and
 * `@stepping/tm-local-mongoose`; one conformance suite, `describeTransactionStore`.
 *
 * What every implementation owes:
 * - **Time is the store's**: durations come in, the store adds them to its own clock; no date of the app is ever compared or written.
 * - **Every answer is per row.** Three ways to fail: {@link WriteRefused} – the server refused what was sent, nothing of the call was written, splitting the batch is
 *   safe; `STORE_UNAVAILABLE` (SteppingError) – nothing was sent, no connection could be had; any other rejection – outcome unknown, all of the call was written, or some
 *   of it, or nothing. The caller then sends the very same call again, or lets go (R7).
 * - **At most one entry per gid in a call** of create, save, extend or change; the caller sees to it and sorts by gid. A call without
 *   entries answers without any.
 * - **Open transactions of users hold up nobody else.** Where the database lets only one write at a time (SQLite), writers wait their turn instead, {@link TransactionStore.resolve} for its 2 s at most.
 */
export interface TransactionStore {
  /** Stores jobs, answering by the row found (design §4, R4). Never waits longer than a short lock timeout: a gid that is uncommitted elsewhere is answered `locked`. */
  create(jobs: readonly CreateJob[]): Promise<readonly CreateAnswer[]>;
  /**
   * The same for one job that was `locked`: on a connection of its own, waiting for the rival up to `waitMs`, so that it holds up nobody. Still waiting then → `locked`.
   */
  createAlone(job: CreateJob, waitMs: number): Promise<CreateAnswer>;
  /** Fenced writes of lease holders (R6, R7). Answers with the gids whose fence matched. */
  save(saves: readonly Save[]): Promise<ReadonlySet<string>>;
  /** Renews leases: `due_at = now + leaseMs where gid and lease`. Answers with the gids still held. On a connection that no hung save can block, given up after `leaseMs / 3`. */
  extend(leases: readonly Lease[], leaseMs: number): Promise<ReadonlySet<string>>;
  /** Compare-and-set on status (and instance): submit, abort, cancel, redrive, settle. Moves the fence. */
  change(changes: readonly Change[]): Promise<readonly ChangeAnswer[]>;
  /**
   * Claims up to `limit` due rows of one queue in the order of `due_at`, skipping rows locked by others: `due_at = now + leaseMs`, `lease + 1`, `held` set. Counts no attempt.
   * Exact: an empty answer means that nothing was due. Which rows come is ordered, the answer itself is not;
   * a row that turns up among those claimed before (a late commit) may be passed over for a moment.
   */
  claimDue(claim: { queue: string; limit: number; leaseMs: number }): Promise<readonly ClaimedJob[]>;
  /**
   * In one statement, for each of these queues that has an unfinished row: how long until its earliest is due (0: it is due), be it held or not. Unit: ms.
   */
  nextDueInMs(queues: readonly string[]): Promise<ReadonlyMap<string, number>>;
  /**
   * R9, for an enlisted job whose commit outcome is unknown: inserts `(gid, instance, 'rolled-back')` over a new connection, which waits (at most 2 s) for the uncommitted row;
   * what is found then is read as design §4 says (A5: a look at an existing key is a write to that row, then a fresh READ COMMITTED read). Never rejects: an error is
   * `unknown`. How long ago the commit was sent is the caller's to look at, afterwards.
   *
   * The inserted row ends now (`finished_at = now`, `due_at = null`), has no steps (`{"v":1,"steps":[]}`), an empty queue, and a random lease that the store draws
   * as {@link CreateJob.lease} is drawn. Of my instance: submitted or finished → committed; rolled-back → rolled-back; prepared or `purging` → unknown (what it was before the
   * purge is not kept). Another instance, whatever its status → rolled-back. The lease of a row that was found stays.
   */
  resolve(gid: string, instance: string): Promise<InDoubtAnswer>;
  /** Reads from the primary, committed rows only, on a connection that is not the user's. */
  find(gid: string): Promise<StoredJob | undefined>;
  /** In the order of gids, byte by byte, from after `cursor`; `purging` rows are left out. */
  list(filter: StoreFilter): Promise<readonly StoredJob[]>;
  /**
   * Counts by status, `purging` left out. `oldestDueMs`: how long the most overdue submitted row has been due (one whose lease runs is not due); `oldestPreparedMs`: age
   * of the oldest prepared row since it was created or revived. Both 0 where there is none.
   */
  stats(): Promise<Record<JobStatus, number> & { oldestDueMs: number; oldestPreparedMs: number }>;
  /**
   * First write of a purge (R5): compare-and-set of up to `limit` finished jobs, older than given, to `purging` with `lease + 1`; and takes over rows
   * that another purge left in that state for ten minutes. `failed` rows have an age of their own.
   */
  startPurge(purge: { finishedMsAgo: number; failedMsAgo: number; limit: number }): Promise<readonly PurgingJob[]>;
  /** Third write of a purge: deletes these rows where gid, lease and `purging` still match. Answers how many. */
  finishPurge(jobs: readonly Lease[]): Promise<number>;
  /** Most entries in one call of create, save, extend or change. Default 1 000. (SQLite: 256, since a batch blocks the event loop.) */
  readonly maxBatch?: number | undefined;
  /** Creates or upgrades the schema, under a lock. Refuses a newer one (`STORE_REFUSED`). */
  migrate(): Promise<void>;
  /** Connects, checks (or, when configured so, migrates) the schema. Rejects with `STORE_UNAVAILABLE` or `STORE_REFUSED`. */
  start(): Promise<void>;
  stop(): Promise<void>;
  /**
   * Hint that jobs became due now (just stored elsewhere): LISTEN/NOTIFY, a change stream. The poll stays; a hint may be lost. Returns the unsubscriber. Absent where the store has none.
   */
  onDue?(listener: () => void): () => void;
  /** Tells other processes that a job is due (NOTIFY), after its commit, coalesced. Never rejects, never waits. */
  hintDue?(): void;
  /** A writer through the user's own transaction, if it is one of the very database (the same DataSource or Connection object, or a clone of it). */
  enlist?(native: { readonly kind: string; readonly handle: unknown }): EnlistedStore | undefined;
  /** The turns that writes to this store take (SQLite): lets the TM refuse what would wait for itself. */
  readonly turns?: Turns | undefined;
}

/** A write that the server definitely refused: nothing of the call was written. Splitting a batch is safe. */
export class WriteRefused extends Error {
  override readonly name = 'WriteRefused';
}

/** Every status in the store; `purging` is between the first and the last write of a purge. */
export type StoredStatus = JobStatus | 'purging';

/** A row to be inserted. */
export interface CreateJob {
  readonly gid: string;
  readonly instance: string;
  readonly status: 'prepared' | 'submitted';
  /** Of the first step; `~db/<provider>/<name>` while prepared. */
  readonly queue: string;
  readonly tenant: string | undefined;
  readonly db: DbRef | undefined;
  /** Opaque to the store but for {@link StoreFilter.step}: `{"v":1,"steps":[{"n":name,"a":args,"q":queue},…]}`, args and a default queue left out where there are none. */
  readonly steps: string;
  /** First fencing number of a new row: random, below 2^48, never 0. */
  readonly lease: number;
  /** Run-after-submit: stored as claimed by the caller. */
  readonly held: boolean;
  /** `due_at = now + this`. */
  readonly dueInMs: number;
}

/**
 * By the row found (R4). `lease` is the number that the row has now. `duplicate` is never given for `prepared`, which is `in-doubt`; `purging` is `in-doubt` for every instance.
 * A rolled-back row is revived by any instance: instance, status, queue, tenant, database and steps of the new job, `held` and `due_at` as it says, step 0, attempt 1,
 * `created_at = now`, `finished_at` and error cleared, and the lease that was found plus one, not the new job's.
 */
export type CreateAnswer =
  /** No row was there, or a rolled-back one was revived (lease + 1). */
  | { readonly outcome: 'stored'; readonly lease: number }
  /** A repeat of my own call: the row has my instance. */
  | { readonly outcome: 'repeated'; readonly status: JobStatus; readonly lease: number }
  | { readonly outcome: 'duplicate'; readonly status: JobStatus }
  | { readonly outcome: 'in-doubt' }
  /** The gid is uncommitted in somebody's transaction; nothing was written for it. */
  | { readonly outcome: 'locked' };

export interface Lease {
  readonly gid: string;
  readonly lease: number;
}

/**
 * A fenced write with absolute values. Where: `gid and lease` (whoever changes hands moves the fence, so the status is implied), and so that a repeat or a late
 * landing undoes nothing: `giveUp`: `step <= :step`; else `(step, attempt) <= (:step, :attempt)`.
 */
export interface Save extends Lease {
  readonly step: number;
  readonly attempt: number;
  /** `submitted`: goes on (checkpoint, count, retry, hand-back). Others end the job, with `due_at = null` and `finished_at = now`. */
  readonly status: 'prepared' | 'submitted' | 'succeeded' | 'failed' | 'rolled-back';
  /** The job leaves my hands: `lease + 1`, `held` cleared. Always so when it ends. */
  readonly giveUp: boolean;
  /** `due_at = now + this`. Undefined: untouched (or null where the job ends). */
  readonly dueInMs: number | undefined;
  /** New queue; undefined: untouched. */
  readonly queue: string | undefined;
  /** New last error; undefined: untouched, also where the job succeeds. */
  readonly error: StoredError | undefined;
  /**
   * Databases that hold barriers of this job's steps since its last write: added to those stored before, each once, and given back by {@link TransactionStore.startPurge}. Most
   * writes have none: left out, nothing of them is written or read.
   */
  readonly barrierDbs?: readonly DbRef[] | undefined;
}

/** Any text, also with NUL or half a surrogate pair in it: a store replaces what its database cannot hold and never refuses it, or the end of the job could not be saved. */
export interface StoredError {
  readonly name: string;
  readonly message: string;
}

/**
 * Compare-and-set. On a match: `status = to`, `lease + 1`; when `to` is submitted: `attempt = 1`, `due_at = now + dueInMs`, `held` as given, `finished_at = null`; else:
 * `due_at = null`, `held` cleared, `finished_at = now`. The step stays.
 */
export interface Change {
  readonly gid: string;
  /** Undefined: any (operator verbs). */
  readonly instance: string | undefined;
  readonly from: readonly StoredStatus[];
  readonly to: 'submitted' | 'rolled-back' | 'cancelled';
  /** New queue; undefined: untouched (redrive stays where it was). */
  readonly queue: string | undefined;
  /** For `submitted`: due in this time, and claimed by the caller (run-after-submit). Without meaning for the others. */
  readonly dueInMs: number;
  readonly held: boolean;
  /** New last error; undefined: untouched (a redriven job still tells why it had failed). */
  readonly error: StoredError | undefined;
  /**
   * A crash of the database may undo it after it was answered, since the query-back would do it again, and nobody holds the lease that it answers: a store need not wait for its disk. What is
   * written later must not survive without it. Default: no.
   */
  readonly mayBeLost?: boolean;
}

/** `found`: what is there now, when the compare failed; undefined: no such gid. */
export type ChangeAnswer =
  | { readonly changed: true; readonly lease: number }
  | { readonly changed: false; readonly found: { readonly status: StoredStatus; readonly instance: string } | undefined };

/** A row that this call claimed. */
export interface ClaimedJob extends Lease {
  readonly instance: string;
  readonly status: 'prepared' | 'submitted';
  readonly queue: string;
  readonly step: number;
  readonly attempt: number;
  /** It was still held when claimed: its last holder went silent (A4). */
  readonly wasHeld: boolean;
  readonly tenant: string | undefined;
  readonly db: DbRef | undefined;
  readonly steps: string;
  /** Since the row was created or revived, by the store's clock. */
  readonly ageMs: number;
}

/** A row as `find` and `list` give it. */
export interface StoredJob {
  readonly gid: string;
  readonly instance: string;
  readonly status: StoredStatus;
  readonly queue: string;
  readonly step: number;
  readonly attempt: number;
  readonly lease: number;
  readonly held: boolean;
  readonly tenant: string | undefined;
  readonly db: DbRef | undefined;
  readonly steps: string;
  readonly createdAt: Date;
  readonly dueAt: Date | undefined;
  readonly finishedAt: Date | undefined;
  readonly error: StoredError | undefined;
}

/** Operators' questions: rare, may be slow. */
export interface StoreFilter {
  readonly status?: readonly JobStatus[] | undefined;
  /** Name of the next step (the failed one of a failed job). */
  readonly step?: string | undefined;
  readonly tenant?: string | undefined;
  /** Created or revived at or after this. */
  readonly createdAfter?: Date | undefined;
  /** Created or revived before this. */
  readonly createdBefore?: Date | undefined;
  /** gid of the last row of the page before. */
  readonly cursor?: string | undefined;
  readonly limit: number;
}

export interface PurgingJob extends Lease {
  /** Of its business transaction. */
  readonly db: DbRef | undefined;
  /** All that {@link Save.barrierDbs} ever named, in any order. */
  readonly barrierDbs: readonly DbRef[];
}

/** A store's hand on the user's open transaction. No setting of that connection is ever changed. */
export interface EnlistedStore {
  /**
   * Inserts one job into the user's transaction, answering by the row found. A lock timeout of the user's own connection is `locked`. Serialization failures and deadlocks
   * reject with the driver's own error, unwrapped.
   *
   * `withCommit`: the gid was drawn for this job, so nobody else can have it, and the commit is next. The store may hand over its statement to be sent with it, and answer `stored`; one that fails then must fail
   * the commit.
   */
  create(job: CreateJob, withCommit?: (statement: string) => void): Promise<CreateAnswer>;
}
