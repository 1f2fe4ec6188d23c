import type { ContestantName, DatabaseKind } from './contestants.js';

/** What one child process is to do. */
export type Task = { readonly contestant: ContestantName; readonly kind: DatabaseKind; readonly database: string } & (
  | { readonly action: 'create' }
  /** Puts in a backlog of three-step jobs. */
  | { readonly action: 'fill'; readonly jobs: number }
  /** Runs the backlog. */
  | { readonly action: 'drain'; readonly jobs: number }
  /** Starts one-step jobs for a while: so many callers, each awaiting that its job is durable. */
  | { readonly action: 'enqueue'; readonly callers: number; readonly warmUpMs: number; readonly runMs: number }
);

/** What it found, within the time that was measured. */
export interface Measurement {
  readonly jobsPerSecond: number;
  /** CPU time of the child, per job. Unit: µs. */
  readonly clientCpuUs: number;
  /** CPU time of the PostgreSQL server, per job; null where it is not known, or there is none. Unit: µs. */
  readonly serverCpuUs: number | null;
}
