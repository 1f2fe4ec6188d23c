import type { TransactionStore } from '../transaction-store.js';
import { describe, openBench } from './transaction-store/bench.js';
import { describeChanging } from './transaction-store/changing.js';
import { describeClaiming } from './transaction-store/claiming.js';
import { describeConcurrentHistories } from './transaction-store/concurrent-histories.js';
import { describeCreating } from './transaction-store/creating.js';
import { describeEnlisting } from './transaction-store/enlisting.js';
import { describeExtending } from './transaction-store/extending.js';
import { describeOperating } from './transaction-store/operating.js';
import { describePurging } from './transaction-store/purging.js';
import { describeRandomWalk } from './transaction-store/random-walk.js';
import { describeResolving } from './transaction-store/resolving.js';
import { describeSaving } from './transaction-store/saving.js';

/** A store under test, with what the suite must be able to do around it. Opened once for the suite. */
export interface TransactionStoreHarness {
  /** Migrated, started and empty. */
  readonly store: TransactionStore;
  /** A second store on the same data with connections of its own, as another process has it. Started. */
  readonly second: TransactionStore;
  /** Begins a transaction of a user (READ COMMITTED) that {@link store} can enlist. Absent where the store enlists none: see {@link TransactionStoreTraits.enlists}. */
  beginTransaction?(): Promise<UserTransaction>;
  /** Takes `ms` off every date of the row, among them when its purge began: as if all of it had happened so much earlier. Nothing else changes. */
  age(gid: string, ms: number): Promise<void>;
  /** Deletes all jobs. Called before each test. */
  clear(): Promise<void>;
  close(): Promise<void>;
}

/** An open transaction, held by the suite as a user would hold it. */
export interface UserTransaction {
  /** For {@link TransactionStore.enlist}. */
  readonly native: { readonly kind: string; readonly handle: unknown };
  commit(): Promise<void>;
  rollback(): Promise<void>;
}

/** What a store is not asked to do. Both default to true. */
export interface TransactionStoreTraits {
  /** False where the store never enlists in a user's transaction: those tests are left out. */
  readonly enlists?: boolean;
  /** False where an open transaction keeps all other writers waiting (SQLite): tests that need two at a time are left out. */
  readonly concurrentWriters?: boolean;
}

/**
 * What every {@link TransactionStore} must do, as tests: design §4 and §5, rules R4 to R9, and what the protocol assumes of a database. Call it at the top
 * of a test file, under Jest or any runner with the globals `describe`, `it`, `beforeAll`, `afterAll`, `beforeEach` and `afterEach`. It takes the database's
 * own time and waits for conditions; a run takes some seconds. The random part is made by
 * fast-check, which has to be installed; it prints its seed and the shortest history that fails. `STEPPING_TEST_SEED` repeats it, `STEPPING_TEST_RUNS=20` makes it twenty times as long.
 *
 * @example describeTransactionStore('typeormStore on PostgreSQL', openHarness);
 */
export function describeTransactionStore(
  name: string,
  open: () => Promise<TransactionStoreHarness>,
  traits: TransactionStoreTraits = {},
): void {
  const enlists = traits.enlists ?? true;
  const concurrentWriters = traits.concurrentWriters ?? true;

  describe(`${name} as a TransactionStore`, () => {
    const bench = openBench(open);
    describeCreating(bench);
    describeClaiming(bench);
    describeSaving(bench);
    describeExtending(bench);
    describeChanging(bench);
    describeResolving(bench);
    describeOperating(bench);
    describePurging(bench);
    if (enlists) describeEnlisting(bench, { concurrentWriters });
    describeRandomWalk(bench);
    describeConcurrentHistories(bench);
  });
}
