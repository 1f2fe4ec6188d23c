import type { TransactionManagerLimit } from '../describe-transaction-manager.js';
import type { Scene } from './scene.js';

/** What the parts of the suite work with. */
export interface Suite {
  describe(name: string, body: () => void): void;
  it(name: string, body: () => Promise<void>): void;
  /** Beside others of its kind: for tests that wait, and hold no transaction. */
  concurrently(name: string, body: () => Promise<void>): void;
  /** With an app that is running, shared by all tests. */
  scene(): Promise<Scene>;
  /** Of a test's own: no app runs. */
  openScene(): Promise<Scene>;
  can(what: TransactionManagerLimit): boolean;
}
