import type { WorkloadName } from './measured.js';

/** What a child process is to be: its one argument, as JSON. */
export interface Task {
  readonly role: 'prepare' | 'producer' | 'worker';
  readonly module: string;
  readonly contestant: string;
  readonly workload: WorkloadName;
  readonly database: string;
  readonly orders: string;
  readonly callers: number;
  /** In the backlog. */
  readonly jobs: number;
  readonly steps: number;
  readonly index: number;
}

/** What the parent asks of it. */
export type Order =
  /** A worker: begin. */
  | { readonly type: 'start' }
  /** A producer: so many callers, each waiting for its own job, for so long. */
  | { readonly type: 'run'; readonly warmUpMs: number; readonly runMs: number }
  /** A producer: so many jobs at once. */
  | { readonly type: 'enqueue'; readonly firstId: number; readonly count: number }
  /** A worker: say when nothing unfinished is left. */
  | { readonly type: 'watch' }
  | { readonly type: 'usage' }
  | { readonly type: 'stop' };

/** What it answers. Times are of the monotonic clock, which processes of one machine share. Unit: ms. */
export type Report =
  | { readonly type: 'ready' }
  | { readonly type: 'started' }
  | ({ readonly type: 'began' } & Usage)
  /** `jobs` within the time that is measured, `allJobs` with the warm-up. */
  | ({ readonly type: 'ended'; readonly jobs: number; readonly allJobs: number; readonly elapsedMs: number } & Usage)
  | { readonly type: 'sent'; readonly at: number }
  | { readonly type: 'enqueued' }
  /** Steps run so far, every few milliseconds. */
  | ({ readonly type: 'count'; readonly steps: number; readonly at: number } & Usage)
  /** W3: a handler has begun. */
  | { readonly type: 'ran'; readonly id: number; readonly at: number }
  /** `looks`: how often it asked. */
  | { readonly type: 'stored'; readonly at: number; readonly looks: number }
  | ({ readonly type: 'usage' } & Usage);

export interface Usage {
  readonly cpuUs: number;
  readonly peakRssMib: number;
}

/** Unit: ms. */
export function monotonicMs(): number {
  return Number(process.hrtime.bigint()) / 1e6;
}
