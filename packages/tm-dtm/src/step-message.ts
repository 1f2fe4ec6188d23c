import type { DbRef } from '@stepping/core';

/** The payload of a branch: all that a callback needs to run its step, as JSON. Data at rest on the server. */
export interface StepMessage {
  /** Version of this format. */
  readonly v: 1;
  readonly gid: string;
  readonly instance: string;
  /** Position of the step in its job, from 0. A redriven message begins later than at 0. */
  readonly position: number;
  /** How many steps the job has. */
  readonly of: number;
  /** 0, and one more with each redrive. */
  readonly generation: number;
  readonly step: string;
  readonly queue: string;
  /** JSON text; left out: none. */
  readonly args?: string;
  readonly tenant?: string;
  /** The database that keeps the ledger of this step; left out: whoever runs it has one of its own, or none. */
  readonly ledger?: DbRef;
}

/** What `query_prepared` carries in its URL: which business transaction is asked about. */
export interface Question {
  readonly v: 1;
  readonly gid: string;
  readonly instance: string;
  readonly tenant?: string;
  /** Left out: a job without a business transaction, which is submitted in any case. */
  readonly db?: DbRef;
  /** Of a redrive: drawn at random for this call of it, so that of two at the same time one submits. */
  readonly redrive?: string;
  /** When it was prepared, by the clock of the process that did. Unit: ms since 1970. */
  readonly at: number;
}
