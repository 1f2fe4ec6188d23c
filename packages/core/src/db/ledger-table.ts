import type { LedgerClaim, LedgerError, LedgerKey, LedgerRecord } from '../step-ledger.js';

/** A row of a ledger, as it is by the clock of its database. */
export interface LedgerRow {
  readonly generation: number;
  readonly state: LedgerRecord['state'];
  /** Begun and counted, in this generation. */
  readonly attempts: number;
  /** Of who wrote it last. */
  readonly token: string;
  /** Whether that attempt has not said how it ended. */
  readonly held: boolean;
  /** Until the next attempt may begin: of a held one, until its hold ends. Not above 0 in the past. Unit: ms. */
  readonly dueInMs: number;
  readonly intervalMs: number | undefined;
}

/** What is written when an attempt ends. */
export interface LedgerEntry {
  readonly state: LedgerRecord['state'];
  /** 1: handed back. It is taken off the attempts that count, and the interval stays. */
  readonly uncounted: 0 | 1;
  readonly dueInMs: number;
  readonly intervalMs: number | undefined;
  /** Undefined: as it was. */
  readonly error: LedgerError | undefined;
}

export type HeldKey = LedgerKey & { readonly token: string };

/** `maxAttempts`: without a bound, as many as a column can count. */
export type BoundedClaim = LedgerClaim & { readonly maxAttempts: number };

/**
 * The statements that a database has for its ledger; what they mean together is said once, in {@link ledgerOver}. Each is one write that is committed when it resolves, and goes by the clock
 * of the database. `due_at` is when the next attempt may begin; of a held one, when its hold ends; of one that is done or dead, when it ended.
 */
export interface LedgerTable {
  /**
   * Counts and begins an attempt, if it may: there is no row; or one that is not done and either of this generation, open, due, below `maxAttempts` and last written by another token; or of a former
   * generation, and held by nobody who is still in time: of that nothing but the last error stays. Where it is this very attempt, begun and not ended, its hold is renewed and nothing counted. Answers the
   * row as it is then; undefined if there is none any more.
   */
  begin(claim: BoundedClaim): Promise<LedgerRow | undefined>;
  find(key: LedgerKey): Promise<LedgerRow | undefined>;
  /** Where it is held by this token: sets when the hold ends. Whether it was. */
  extend(key: HeldKey, leaseMs: number): Promise<boolean>;
  /** Where it is held by this token: writes this, and lets go. Whether it was. */
  end(key: HeldKey, entry: LedgerEntry): Promise<boolean>;
  /** Where the row is open, due and as it was seen (generation, attempts, token, held): marks it dead, written by `token`. Whether it was. Undefined error: as it was. */
  bury(key: HeldKey, seen: LedgerRow, error: LedgerError | undefined): Promise<boolean>;
  /** All rows of one start of a job, by position. */
  read(gid: string, instance: string): Promise<readonly LedgerRecord[]>;
  /** Deletes rows that were due (or done, or dead) longer ago than this: up to `limit`, or all. Answers how many. */
  deleteOld(olderThanMs: number, limit: number): Promise<number>;
}
