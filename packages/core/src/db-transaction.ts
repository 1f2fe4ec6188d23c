import type { Resolver } from './injection.js';
import type { StepLedger } from './step-ledger.js';

/**
 * Names a business database: a name that the user gave, never a hash of a connection string, so that it stays the same across restarts,
 * password changes and fail-over. Stored in every prepared job.
 */
export interface DbRef {
  readonly provider: string;
  readonly name: string;
  readonly tenant?: string;
}

/** The user's open business transaction, as a db package wraps it (`typeormTransaction(queryRunner)`). */
export interface DbTransaction {
  /**
   * Names the database so that it can be found after a crash; asked once, before prepare.
   *
   * @throws {@link SteppingError} `DB_UNKNOWN` if no plugin serves it, `DB_MISMATCH` if the plugin would ask another database than this transaction's, `TX_NESTED` in a nested transaction.
   */
  ref(resolver: Resolver): Promise<DbRef>;
  /** Whether *this* transaction (not a later one on the same connection) is still open, as far as the driver knows. */
  isActive(): boolean;
  /** Inserts the barrier `(gid, '00', 'msg', instance, reason 'msg')` into the open transaction. False if the key was there already. */
  insertBarrier(gid: string, instance: string): Promise<boolean>;
  /** Takes that barrier out again, in the same transaction; resolves once acknowledged. */
  deleteBarrier(gid: string, instance: string): Promise<void>;
  /** How a store of the same database writes through this transaction: a kind (`'typeorm'`) and its handle (the QueryRunner). */
  readonly native: { readonly kind: string; readonly handle: unknown };
  /**
   * Commits. Absent where somebody else commits (TypeORM's `dataSource.transaction(fn)`): then `start()` is refused (`TX_NOT_OWNED`).
   * Rejects with the driver's own error; {@link commitOutcome} says what it means.
   */
  commit?(): Promise<void>;
  /**
   * Has a statement of a store of the same database sent in one trip with the COMMIT, before it. Only called when `commit()` of this very object is next. Absent where the database or its driver
   * cannot: then the store sends it at once.
   */
  readonly withCommit?: ((statement: string) => void) | undefined;
  /** What a rejected `commit()` means: the server itself said no, or nobody knows. */
  commitOutcome?(error: unknown): 'not-committed' | 'unknown';
  /** Resolves once the server acknowledged the rollback. */
  rollback(): Promise<void>;
  /** Closes the connection, which ends the transaction: the last resort where even a rollback was not acknowledged. */
  close(): Promise<void>;
}

/** What the user's database says of a transaction whose outcome is in doubt. `unknown`: ask again later, never decide. */
export type InDoubtAnswer = 'committed' | 'rolled-back' | 'unknown';

/** A database with barriers, by name (`typeormDb({ dataSource })`): where query-back asks. One conformance suite: `describeDbProvider`. */
export interface DbProvider {
  /** `'typeorm'`, `'mongoose'`: first part of the {@link DbRef}. */
  readonly provider: string;
  readonly name: string;
  /** One database per tenant, so that a {@link DbRef} without a tenant names none. Left out: one database. */
  readonly perTenant?: boolean | undefined;
  /**
   * Query-back and in-doubt question: inserts the barrier key with reason `rollback` on a connection of its own (READ COMMITTED, primary
   * only, lock wait bounded to 1–2 s), and once that commit is acknowledged *reads the reason*: `msg` → committed; `rollback`, whoever wrote it →
   * rolled-back; no row or any error → unknown. It never rejects, and it blocks while the transaction is open. Rules R1, R3.
   */
  resolveInDoubt(gid: string, instance: string, ref: DbRef): Promise<InDoubtAnswer>;
  /**
   * Whether the barrier of this instance is there, committed, with reason `msg`: a select on a connection that is not the user's. True is
   * proof, false is none (A3). Rejects when the database cannot be asked.
   */
  hasCommitted(gid: string, instance: string, ref: DbRef): Promise<boolean>;
  /**
   * Whether this very database answered when it was last asked, be it that a lock made it wait. False: it is down, and there is no use in asking it once for each of its jobs. Costs
   * nothing. Left out: nobody knows.
   */
  isReachable?(ref: DbRef): boolean;
  /** Deletes all barriers of these gids that are older than half an hour (a purged gid that is started anew keeps its own). Part of R5. */
  purgeBarriers(gids: readonly string[], ref: DbRef): Promise<void>;
  /** Left out: an external transaction manager cannot count attempts here. */
  readonly ledger?: StepLedger | undefined;
  /** Creates or upgrades the barrier table. */
  migrate(options: { tenant?: string | undefined }): Promise<void>;
}

/** The databases of an app by provider and name. Db plugins add theirs in `start`. */
export interface DbProviders {
  /** @throws {@link SteppingError} `CONFIG_INVALID` if the name is taken. */
  add(provider: DbProvider): void;
  find(ref: DbRef): DbProvider | undefined;
  all(): readonly DbProvider[];
}
