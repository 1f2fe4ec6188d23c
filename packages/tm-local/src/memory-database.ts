import type { DbRef } from '@stepping/core';
import { type Clock, systemClock } from './clock.js';
import type { StoredError, StoredStatus } from './transaction-store.js';

/**
 * A database in the memory of this process: what a transaction wrote is seen by nobody else until it commits, and who wants to write the same key
 * waits for its end (READ COMMITTED with row locks, as the SQL databases do it).
 */
export class MemoryDatabase {
  readonly jobs: MemoryTable<JobRow> = new MemoryTable();
  /** Barriers of two-phase jobs, by {@link barrierKey}. */
  readonly barriers: MemoryTable<BarrierRow> = new MemoryTable();
  /** Called when a job may be due. */
  readonly dueListeners: Set<() => void> = new Set();
  /** Every date in it is by this clock. */
  clock: Clock = systemClock;
  /** Of its business transactions' `DbRef`. */
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }
}

/** A job as it is kept. Never changed in place: a new version replaces it. Dates in ms since 1970. */
export interface JobRow {
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
  readonly createdAt: number;
  readonly dueAt: number | undefined;
  readonly finishedAt: number | undefined;
  readonly purgingSince: number | undefined;
  readonly error: StoredError | undefined;
  /** See `Save.barrierDbs`. */
  readonly barrierDbs: readonly DbRef[];
}

export interface BarrierRow {
  readonly gid: string;
  readonly reason: 'msg' | 'rollback';
  readonly createdAt: number;
}

/** The unique key of a barrier. Gids have no slash. */
export function barrierKey(gid: string, instance: string): string {
  return `${gid}/${instance}`;
}

/** Rows by their key. Without `by` a read sees what is committed, and a write is a transaction of its own. */
export class MemoryTable<V> {
  readonly #committed = new Map<string, V>();
  readonly #pending = new Map<string, { readonly by: MemoryTransaction; value: V | undefined }>();

  read(key: string, by?: MemoryTransaction): V | undefined {
    const pending = this.#pending.get(key);
    return pending && pending.by === by ? pending.value : this.#committed.get(key);
  }

  /** All committed rows. */
  rows(): V[] {
    return Array.from(this.#committed.values());
  }

  /** The same with their keys. */
  entries(): [string, V][] {
    return Array.from(this.#committed);
  }

  /** Undefined deletes. The key must be free: see {@link whenFree}. */
  write(key: string, value: V | undefined, by?: MemoryTransaction): void {
    if (this.isLocked(key, by)) throw new Error(`Row ${key} is locked by another transaction.`);
    if (!by) {
      this.#commit(key, value);
      return;
    }
    const pending = this.#pending.get(key);
    if (pending) {
      pending.value = value;
      return;
    }
    const mine = { by, value };
    this.#pending.set(key, mine);
    by.onEnd((committed) => {
      this.#pending.delete(key);
      if (committed) this.#commit(key, mine.value);
    });
  }

  /** Whether another transaction than `by` has written the row and not ended yet. */
  isLocked(key: string, by?: MemoryTransaction): boolean {
    const pending = this.#pending.get(key);
    return pending !== undefined && pending.by !== by;
  }

  /** Does `work` as soon as no other transaction holds the row; `'locked'` if one still does after `waitMs`. `work` is not interrupted by anybody. */
  async whenFree<R>(key: string, waitMs: number, work: () => R, by?: MemoryTransaction): Promise<R | 'locked'> {
    const until = performance.now() + waitMs;
    for (;;) {
      const pending = this.#pending.get(key);
      if (!pending || pending.by === by) return work();
      if (!(await pending.by.endsWithin(until - performance.now()))) return 'locked';
    }
  }

  #commit(key: string, value: V | undefined): void {
    if (value === undefined) this.#committed.delete(key);
    else this.#committed.set(key, value);
  }
}

/** An open transaction. */
export class MemoryTransaction {
  readonly database: MemoryDatabase;
  #state: 'open' | 'committed' | 'rolled-back' = 'open';
  readonly #ended = Promise.withResolvers<void>();
  readonly #endings: ((committed: boolean) => void)[] = [];

  constructor(database: MemoryDatabase) {
    this.database = database;
  }

  get state(): 'open' | 'committed' | 'rolled-back' {
    return this.#state;
  }

  onEnd(ending: (committed: boolean) => void): void {
    this.assertOpen();
    this.#endings.push(ending);
  }

  assertOpen(): void {
    if (this.#state !== 'open') throw new Error(`This transaction is ${this.#state}.`);
  }

  end(how: 'committed' | 'rolled-back'): void {
    this.assertOpen();
    this.#state = how;
    for (const ending of this.#endings) ending(how === 'committed');
    this.#ended.resolve();
  }

  /** Real time, whatever the database's clock says: how long somebody waits for a lock is no date in the database. */
  endsWithin(ms: number): Promise<boolean> {
    return new Promise((resolve) => {
      const cancel = systemClock.setTimeout(() => resolve(false), ms);
      void this.#ended.promise.then(() => {
        cancel();
        resolve(true);
      });
    });
  }
}
