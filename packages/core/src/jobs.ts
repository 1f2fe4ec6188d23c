import type { AnyStep, Known } from './step.js';

/** Where a job stands. A job that is being purged is never shown: `jobs.find` gives undefined. */
export type JobStatus = 'prepared' | 'submitted' | 'succeeded' | 'rolled-back' | 'failed' | 'cancelled';

/** A job as operators see it. */
export interface JobInfo {
  gid: string;
  status: JobStatus;
  tenant?: string;
  createdAt: Date;
  /** When it is due next; while a worker runs it, when its lease ends. Undefined once finished. */
  dueAt: Date | undefined;
  /** Index of the next step. */
  step: number;
  /** Number of the attempt to be made next, from 1. */
  attempt: number;
  lastError: { name: string; message: string } | undefined;
  /** Empty where this release cannot read them (a later one has stored them): `lastError` then says so. */
  steps: { name: string; status: 'waiting' | 'succeeded' | 'failed'; args: unknown }[];
}

/** Which jobs to list. Everything left out means: all. */
export interface JobFilter<N extends string = string> {
  status?: JobStatus | readonly JobStatus[] | undefined;
  /** Jobs whose next (or failed) step is this one. */
  step?: Known<N> | AnyStep | undefined;
  tenant?: string | undefined;
  createdAfter?: Date | undefined;
  createdBefore?: Date | undefined;
  /** Default 100, at most 1 000. */
  limit?: number | undefined;
  /** That of the page before. */
  cursor?: string | undefined;
}

/** Counts by status, and two ages that an alarm can watch. */
export type JobStats = Record<JobStatus, number> & {
  /** How long the most overdue submitted job has been due. 0: none is. Unit: ms. */
  oldestDueMs: number;
  /** Age of the oldest prepared job. 0: there is none. Unit: ms. */
  oldestPreparedMs: number;
};

/** The one operations API, `stepping.jobs`. Verbs that the TM cannot do throw `UNSUPPORTED_BY_TM`. */
export interface Jobs<N extends string = string> {
  find(gid: string): Promise<JobInfo | undefined>;
  /** In the order of gids, which for generated ones is the order of creation. */
  list(filter?: JobFilter<N>): Promise<{ jobs: JobInfo[]; cursor?: string }>;
  /**
   * Resolves when the job is finished: `succeeded`, `failed`, `cancelled` or `rolled-back`.
   *
   * @throws {@link SteppingError} `JOB_NOT_FOUND`; `WAIT_TIMEOUT` after `timeoutMs`; the signal's reason when aborted.
   */
  wait(gid: string, options: { timeoutMs: number; signal?: AbortSignal | undefined }): Promise<JobInfo>;
  /**
   * Puts a failed job back at the step that failed, with all its attempts.
   *
   * @throws {@link SteppingError} `JOB_NOT_FOUND`; `JOB_STATUS` if it is not `failed`.
   */
  redrive(gid: string): Promise<void>;
  /** Redrives every failed job that fits the filter. */
  redriveAll(filter: Omit<JobFilter<N>, 'status' | 'limit' | 'cursor'>): Promise<{ redriven: number }>;
  /**
   * No further step of a submitted or failed job runs; the signal of a running one is aborted.
   *
   * @throws {@link SteppingError} `JOB_NOT_FOUND`; `JOB_STATUS` if it is neither; prepared jobs cannot be cancelled, their transaction may commit.
   */
  cancel(gid: string, reason?: string): Promise<void>;
  /** Removes finished jobs and their barriers, none younger than one hour. Idempotency by gid lasts as long as the job is kept. */
  purge(options: { finishedBefore: Date }): Promise<{ purged: number }>;
  stats(): Promise<JobStats>;
  /**
   * Decides a prepared job by hand, for a database that is gone for good: whoever calls it answers for the verdict.
   *
   * @throws {@link SteppingError} `JOB_NOT_FOUND`; `JOB_STATUS` if it is not `prepared`.
   */
  settle(gid: string, verdict: 'submitted' | 'rolled-back', reason: string): Promise<void>;
}
