import type { WorkloadName } from '../measured.js';

/** Where measurements are made: a server, or a folder of files. */
export interface Databases {
  /** Version and durability settings, for the table. */
  readonly described: string;
  /** The process whose CPU time, with that of its children, is the server's; undefined where there is none. */
  readonly serverPid: number | undefined;
  /** An empty database: a URL, or the path of a file. */
  open(label: 'jobs' | 'orders'): Promise<string>;
  /** The table of the business rows. */
  createOrders(database: string): Promise<void>;
  /** Commits are not waited for while a backlog is filled in; {@link settle} ends that. */
  relax(database: string): Promise<void>;
  /** After the backlog is in: what a database that has been running for a while has done already. */
  settle(database: string): Promise<void>;
  /** Counters of the server, where it has some. */
  totals?(database: string): Promise<Totals>;
  /** Drops what was opened since the last call. */
  dropAll(): Promise<void>;
  stop(): Promise<void>;
}

/** Since ever: differences are what counts. */
export interface Totals {
  /** Transactions, those that only read too. */
  readonly commits: number;
  /** Of the log. */
  readonly fsyncs: number;
  readonly walBytes: number;
}

/** Workloads that keep business rows. */
export function hasOrders(workload: WorkloadName): boolean {
  return workload === 'W4' || workload === 'W7';
}
