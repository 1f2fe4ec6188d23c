import assert from 'node:assert/strict';
import type { EnlistedStore, StoredJob, TransactionStore } from '../../transaction-store.js';
import type { TransactionStoreHarness, UserTransaction } from '../describe-transaction-store.js';
import { aJob, stored } from './rows.js';

interface Runner {
  describe(name: string, body: () => void): void;
  it(name: string, body: () => Promise<void>, timeoutMs?: number): void;
  beforeAll(body: () => Promise<void>, timeoutMs?: number): void;
  afterAll(body: () => Promise<void>, timeoutMs?: number): void;
  beforeEach(body: () => Promise<void>, timeoutMs?: number): void;
  afterEach(body: () => Promise<void>, timeoutMs?: number): void;
}
// The runner's globals, looked up when a suite is described: this module is also loaded where there is no runner.
const runner = globalThis as unknown as Runner;

/** Longest time for one test and for opening a database on a slow machine. Unit: ms. */
export const TEST_TIMEOUT_MS = 30_000;
const OPEN_TIMEOUT_MS = 120_000;

export function describe(name: string, body: () => void): void {
  runner.describe(name, body);
}

export function it(name: string, body: () => Promise<void>): void {
  runner.it(name, body, TEST_TIMEOUT_MS);
}

/** The store under test as the tests use it; valid inside of tests only. */
export interface Bench {
  readonly store: TransactionStore;
  readonly second: TransactionStore;
  age(gid: string, ms: number): Promise<void>;
  /** Deletes all jobs; done before each test, too. */
  clear(): Promise<void>;
  /** Begins a user's transaction; rolled back after the test if it is still open. */
  begin(): Promise<OpenTransaction>;
  /** The row, which must be there. */
  row(gid: string): Promise<StoredJob>;
  /** The store's time. Unit: ms since 1970. */
  now(): Promise<number>;
}

export interface OpenTransaction {
  readonly enlisted: EnlistedStore;
  commit(): Promise<void>;
  rollback(): Promise<void>;
}

/** Opens the harness before the tests, clears it before each and closes it after all. */
export function openBench(open: () => Promise<TransactionStoreHarness>): Bench {
  let harness: TransactionStoreHarness | undefined;
  const opened = (): TransactionStoreHarness => {
    assert.ok(harness, 'The store under test did not open.');
    return harness;
  };
  const transactions = new Set<UserTransaction>();

  runner.beforeAll(async () => {
    harness = await open();
  }, OPEN_TIMEOUT_MS);
  runner.afterAll(async () => {
    await harness?.close();
  }, OPEN_TIMEOUT_MS);
  runner.beforeEach(() => opened().clear(), TEST_TIMEOUT_MS);
  runner.afterEach(async () => {
    const leftOpen = Array.from(transactions);
    transactions.clear();
    await Promise.all(leftOpen.map((transaction) => transaction.rollback()));
  }, TEST_TIMEOUT_MS);

  return {
    get store() {
      return opened().store;
    },
    get second() {
      return opened().second;
    },
    age: (gid, ms) => opened().age(gid, ms),
    clear: () => opened().clear(),
    async begin() {
      const transaction = await opened().beginTransaction?.();
      assert.ok(transaction, 'The harness has no beginTransaction(), but the store is said to enlist.');
      transactions.add(transaction);
      const enlisted = opened().store.enlist?.(transaction.native);
      assert.ok(enlisted, 'The store does not enlist in the transaction that its harness began.');
      const end = async (how: 'commit' | 'rollback') => {
        transactions.delete(transaction);
        await transaction[how]();
      };
      return { enlisted, commit: () => end('commit'), rollback: () => end('rollback') };
    },
    async row(gid) {
      const row = await opened().store.find(gid);
      assert.ok(row, `There is no row ${gid}.`);
      return row;
    },
    async now() {
      const probe = aJob({ queue: 'clock', held: true, dueInMs: 86_400_000 });
      await stored(opened().store, probe);
      return (await this.row(probe.gid)).createdAt.getTime();
    },
  };
}

/** Polls until `look` gives something. */
export async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
  const giveUpAt = performance.now() + TEST_TIMEOUT_MS / 2;
  for (;;) {
    const found = await look();
    if (found !== undefined) return found;
    assert.ok(performance.now() < giveUpAt, `Waited in vain for ${what}.`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Whether `promise` is still open after a while: the only way to see that something waits. */
export async function isWaiting(promise: Promise<unknown>): Promise<boolean> {
  const open = Symbol('open');
  const while_ = new Promise((resolve) => setTimeout(resolve, 100, open));
  return (await Promise.race([promise, while_])) === open;
}

/** Fails unless `actual` lies between two readings of the store's clock, give or take the rounding of dates. */
export function assertBetween(actual: number | undefined, from: number, to: number): void {
  assert.ok(actual !== undefined && actual >= from - 2 && actual <= to + 2, `${actual} is not between ${from} and ${to}.`);
}
