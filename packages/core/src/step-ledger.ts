import type { DbRef } from './db-transaction.js';

/** One step of one start of a job. */
export interface LedgerKey {
  readonly gid: string;
  /** A gid that an external TM forgot and that is started anew has another one, and begins with a clean ledger. */
  readonly instance: string;
  /** Position of the step in its job, from 0. */
  readonly position: number;
}

/** An attempt that somebody wants to begin. */
export interface LedgerClaim extends LedgerKey {
  /** 0, and one more with each redrive: what a former one left as dead is open again for the next, and closed for good for itself. */
  readonly generation: number;
  /** Drawn at random for this attempt: the fence of every later write. The same claim sent again, because its answer was lost, is answered alike. */
  readonly token: string;
  /** Undefined: without a bound. */
  readonly maxAttempts: number | undefined;
  /** For how long nobody else begins, unless {@link StepLedger.extend} prolongs it. Unit: ms. */
  readonly leaseMs: number;
}

/**
 * What the ledger says to a claim:
 * `begun` – the attempt of this number is counted, now run it; `done` – the step has run, do not run it again; `dead` – its attempts are used up or it failed for good;
 * `wait` – somebody runs it, or its backoff has not passed: not before `inMs`. `intervalMs`: what {@link LedgerEnd} last said of the caller's own pace. `buried`: it was this very claim that
 * found the attempts used up and marked the step dead, so its sender tells of it; also when the claim is repeated, and in no other answer.
 */
export type LedgerAnswer =
  | { readonly answer: 'begun'; readonly attempt: number; readonly intervalMs: number | undefined }
  | { readonly answer: 'done' }
  | { readonly answer: 'dead'; readonly buried?: true }
  | { readonly answer: 'wait'; readonly inMs: number };

/** How an attempt ended. `hand-back`: it does not count (the process stops). */
export type LedgerEnd =
  | { readonly end: 'done' }
  | { readonly end: 'retry'; readonly delayMs: number; readonly intervalMs: number | undefined; readonly error: LedgerError }
  | { readonly end: 'dead'; readonly error: LedgerError }
  | { readonly end: 'hand-back' };

export interface LedgerError {
  readonly name: string;
  readonly message: string;
}

/** What is remembered of a step that was begun at least once. */
export interface LedgerRecord {
  readonly position: number;
  readonly generation: number;
  readonly state: 'open' | 'done' | 'dead';
  /** Attempts that were begun and count. */
  readonly attempts: number;
  /** The last of them has not said how it ended. */
  readonly held: boolean;
  /** Of the last attempt that failed, whatever came of the step since. */
  readonly lastError: LedgerError | undefined;
  /** When the next attempt may begin, by the database's clock; undefined unless `open`. */
  readonly dueAt: Date | undefined;
}

/**
 * What an external transaction manager (DTM) does not remember of a job's steps: attempts, which are done, which are dead, and who runs one now. One small table beside the
 * barriers. All times are the database's. Every method rejects when it was refused or not heard; a write that was not heard may be sent again as it was.
 */
export interface StepLedger {
  /** How long records are kept after their last change; `barrierRetentionMs` of the database. Unit: ms. */
  readonly retentionMs: number;
  /**
   * Begins an attempt, counted and committed before this resolves: if the step is open, of this generation or a former one, and nobody holds it. One whose attempts are used up and whose
   * last holder went silent is marked dead (`STEP_PERMANENT`, "worker lost"), as is one that has failed as often as is allowed by now. A claim of a former generation is answered `dead`.
   */
  begin(claim: LedgerClaim, ref: DbRef): Promise<LedgerAnswer>;
  /** Prolongs the hold of this token. False: somebody else has the step now. */
  extend(key: LedgerKey & { readonly token: string }, leaseMs: number, ref: DbRef): Promise<boolean>;
  /** Writes how the attempt of this token ended, and lets go. False: somebody else has the step now, and nothing is written. True again for a repeat. */
  end(key: LedgerKey & { readonly token: string }, end: LedgerEnd, ref: DbRef): Promise<boolean>;
  /** What is known of the steps of this start, by position. */
  read(gid: string, instance: string, ref: DbRef): Promise<readonly LedgerRecord[]>;
}
