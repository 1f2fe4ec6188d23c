import assert from 'node:assert/strict';
import type { DbTransaction } from '../db-transaction.js';
import type { JobBuilder } from '../job.js';
import type { AnyStep, RetryPolicy, StepContext } from '../step.js';
import type { Stepping } from '../stepping.js';
import { describeAttempts } from './transaction-manager/attempts.js';
import { describeOperators } from './transaction-manager/operators.js';
import { describePlainJobs } from './transaction-manager/plain-jobs.js';
import { describeProcesses } from './transaction-manager/processes.js';
import { Scene } from './transaction-manager/scene.js';
import type { Suite } from './transaction-manager/suite.js';
import { describeTransactions } from './transaction-manager/transactions.js';

/** A transaction manager under test with one business database. Each one that is opened has jobs and a database of its own. */
export interface TransactionManagerHarness {
  /**
   * Starts an app with these options, this transaction manager and the business database. Jobs and database are those of every app that this harness started before: one that is started after
   * another one was stopped is its restart. The suite stops it. Questions about a silent transaction have to come within a few seconds.
   */
  openApp(options: { readonly steps: readonly AnyStep[]; readonly retry: RetryPolicy }): Promise<Stepping>;
  /** `inTransaction` of the db package. */
  inTransaction(app: Stepping, options: { readonly gid?: string }, body: (tx: TestScope) => Promise<void>): Promise<void>;
  /** Begins a transaction as a user would who holds it, one that we may commit. */
  beginTransaction(): Promise<HeldTestTransaction>;
  /** `once` of the db package; `write` writes in its transaction. Left out: the package has none. */
  once?(context: StepContext<any, any>, work: (write: Write) => Promise<void>): Promise<{ readonly ran: boolean }>;
  /** What was written and committed, in any order. */
  written(): Promise<readonly string[]>;
  /** Called when its apps are stopped. */
  close(): Promise<void>;
}

/** A business write: keeps this text. */
export type Write = (text: string) => Promise<void>;

/** What the body of {@link TransactionManagerHarness.inTransaction} works with. */
export interface TestScope {
  readonly job: JobBuilder;
  readonly write: Write;
}

/** A transaction in the user's hands. */
export interface HeldTestTransaction {
  readonly transaction: DbTransaction;
  readonly write: Write;
  /** Rolls back if it is still open, and gives the connection back. */
  end(): Promise<void>;
}

/**
 * What a transaction manager may not be able to do. `revive`: start a gid anew whose transaction was rolled back; then that is `JOB_STATUS`. The others are operations, and `UNSUPPORTED_BY_TM`
 * then: `cancel`, `purge`, `stats`, `list-by-step`.
 */
export type TransactionManagerLimit = 'revive' | 'cancel' | 'purge' | 'stats' | 'list-by-step';

/** A test takes as long as a few of the transaction manager's own intervals. Unit: ms. */
const TEST_TIMEOUT_MS = 60_000;

interface Runner {
  describe(name: string, body: () => void): void;
  it: ItFunction & { readonly concurrent?: ItFunction };
  afterAll(body: () => Promise<void>, timeoutMs?: number): void;
}
type ItFunction = (name: string, body: () => Promise<void>, timeoutMs?: number) => void;

/**
 * What users can observe of a transaction manager, as tests: the same app is to behave in the same way whichever one it is given. What this one cannot do is listed in `cannot` and asserted,
 * too: it must say so, and not do it badly. Call it at the top of a test file, under Jest or any runner with the globals `describe`, `it` and `afterAll`. Tests that only wait run side by side
 * where the runner has `it.concurrent`.
 *
 * @example describeTransactionManager('dtm with PostgreSQL', openHarness, { cannot: ['revive', 'cancel', 'purge', 'stats', 'list-by-step'] });
 */
export function describeTransactionManager(
  name: string,
  open: () => Promise<TransactionManagerHarness>,
  options: { readonly cannot?: readonly TransactionManagerLimit[] } = {},
): void {
  // The runner's globals, looked up when the suite is described: this module is also loaded where there is no runner.
  const { describe, it, afterAll } = globalThis as unknown as Runner;
  const concurrent = it.concurrent ?? it;
  const { cannot = [] } = options;
  const scenes: Scene[] = [];
  const openScene = async () => {
    const scene = new Scene(await open());
    scenes.push(scene);
    return scene;
  };
  let shared: Promise<Scene> | undefined;
  const suite: Suite = {
    describe,
    it: (title, body) => it(title, body, TEST_TIMEOUT_MS),
    concurrently: (title, body) => concurrent(title, body, TEST_TIMEOUT_MS),
    // Opened by whoever comes first: tests that run side by side begin before a `beforeAll` would.
    scene: () => {
      shared ??= openScene().then(async (scene) => {
        await scene.openApp();
        return scene;
      });
      return shared;
    },
    openScene,
    can: (what) => !cannot.includes(what),
  };

  describe(`${name} as a TransactionManager`, () => {
    afterAll(async () => {
      const closed = await Promise.allSettled(scenes.map((scene) => scene.close()));
      for (const one of closed) assert.equal(one.status, 'fulfilled', String((one as PromiseRejectedResult).reason));
    }, TEST_TIMEOUT_MS);

    describePlainJobs(suite);
    describeAttempts(suite);
    describeTransactions(suite);
    describeOperators(suite);
    describeProcesses(suite);
  });
}
