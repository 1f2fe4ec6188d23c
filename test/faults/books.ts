import type { JobBuilder, StepContext, Stepping, SteppingPlugin } from '@stepping/core';
import type { StorePlugin } from '@stepping/tm-local';
import { openMongoBooks } from './mongo-books.js';
import type { Place } from './place.js';
import { openSqlBooks } from './sql-books.js';

/** The business database of a shop, and the store of its jobs, as one process has them open. */
export interface Books {
  readonly store: StorePlugin;
  readonly database: SteppingPlugin;
  /** Makes the tables of the shop. */
  setUp(): Promise<void>;
  /** A business transaction: an order of this name, and a job of the same gid. */
  order(stepping: Stepping, gid: string, addSteps: (job: JobBuilder) => void): Promise<void>;
  /** Writes an effect of this step, `once`. */
  effect(context: StepContext<any>): Promise<void>;
  read(): Promise<Ledger>;
  /** Makes a stored job unreadable. */
  spoil(gid: string): Promise<void>;
  /** Opens a transaction that looks at the jobs as they are now, on a connection of its own. What is given back ends it. */
  look(): Promise<() => Promise<void>>;
  close(): Promise<void>;
}

/** What the business database says. */
export interface Ledger {
  readonly orders: ReadonlySet<string>;
  /** The idempotency key of each effect, as often as it was had. */
  readonly effects: readonly string[];
}

/** `jobs`: where the jobs are, if not in the business database itself. */
export function openBooks(business: Place, jobs: Place = business): Promise<Books> {
  return business.kind === 'mongodb' ? openMongoBooks(business, jobs) : openSqlBooks(business, jobs);
}
