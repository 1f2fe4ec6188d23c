import type { ClientBase } from 'pg';
import type { WorkloadName } from './measured.js';

/** Args of every step: about 100 bytes as JSON. */
export interface Payload {
  readonly id: number;
  readonly kind: string;
  readonly note: string;
}

export function payload(id: number): Payload {
  return { id, kind: 'bench', note: 'x'.repeat(64) };
}

/** The business row of W4 and W7. */
export interface Order {
  readonly customer: string;
  readonly amount: number;
}

/** One way to keep jobs in a database and to run them. Each measurement has an empty database: its URL, or the path of a file. */
export interface Contestant {
  /** Makes the tables. */
  create(database: string, options: { readonly workload: WorkloadName }): Promise<void>;
  openProducer(database: string, options: ProducerOptions): Promise<Producer>;
  openWorker?(database: string, options: WorkerOptions): Promise<Worker>;
  /** PostgreSQL: one boolean column, whether a job is left that is not stored as finished. Elsewhere {@link Worker.hasUnfinished} tells. */
  readonly unfinishedSql?: string;
}

export interface ProducerOptions {
  readonly workload: WorkloadName;
  /** How many call it at the same time. */
  readonly callers: number;
  /** Where business rows go: the jobs' own database, but in W7. */
  readonly orders: string;
}

/** Starts jobs. What it does not have takes no part in the workloads that need it. */
export interface Producer {
  /** One job of one step. Resolves when it is durable. */
  enqueue?(args: Payload): Promise<unknown>;
  /** A backlog of jobs with so many steps, each with the payload as its args. Not timed. */
  fill?(steps: number, payloads: readonly Payload[]): Promise<void>;
  /** Through the caller's client of `pg`, in the transaction that is open on it. */
  enqueueIn?(client: ClientBase, args: Payload): Promise<unknown>;
  /** A business row and a job of one step, in a transaction of its own; beats {@link enqueueIn}. */
  placeOrder?(order: Order, args: Payload): Promise<unknown>;
  close(): Promise<unknown>;
}

export interface WorkerOptions {
  readonly workload: WorkloadName;
  /** Number of this process among several. */
  readonly index: number;
  /** In the backlog. */
  readonly jobs: number;
  /** Called by every step's code: each is a no-op but for that. */
  readonly onStep: (args: Payload) => void;
}

/** Runs jobs. */
export interface Worker {
  /** Begins to work. */
  start(): Promise<unknown>;
  hasUnfinished?(): Promise<boolean>;
  close(): Promise<unknown>;
}
