import type { Known } from './step.js';

interface OfJob {
  readonly gid: string;
  readonly tenant: string | undefined;
}
interface OfStep<N extends string> extends OfJob {
  readonly step: Known<N>;
  /** Position of the step in its job, from 0. */
  readonly stepIndex: number;
  /** Number of the attempt, from 1. */
  readonly attempt: number;
}

/** What `stepping.on` can listen to. Events are told in the process where they happen, after the fact is stored. */
export interface SteppingEvents<N extends string = string> {
  /** The job is stored and its steps will run. */
  'job.submitted': OfJob;
  /** All steps have run. */
  'job.succeeded': OfJob;
  /** Somebody cancelled the job. */
  'job.cancelled': OfJob;
  /** The business transaction of the job did not commit; its steps never run. */
  'job.rolled-back': OfJob;
  /** The query-back of a prepared job got no answer for a minute or more: its database is down, or its transaction is still open. */
  'job.prepared-too-long': OfJob;
  /** The business transaction committed, but the transaction manager could not be told; it will find out by itself. */
  'job.submit-deferred': { readonly gid: string; readonly error: unknown };
  /** A step used up its attempts or failed for good: the dead letter. `jobs.redrive(gid)` puts it back at the same step. */
  'job.failed': OfJob & { readonly step: Known<N>; readonly error: unknown };
  /** Another worker owns the job now; this one stopped and wrote nothing. */
  'job.lease-lost': { readonly gid: string };
  'step.started': OfStep<N>;
  'step.succeeded': OfStep<N> & { readonly durationMs: number };
  /** An attempt failed. `nextAttemptAt` is undefined when there will be none. */
  'step.failed': OfStep<N> & { readonly error: unknown; readonly nextAttemptAt: Date | undefined };
  /** This process cannot run the step (unknown name, or args that no longer parse); the job was handed back and waits for one that can. */
  'step.unrunnable': { readonly gid: string; readonly step: Known<N>; readonly error: unknown };
}

/** Tells listeners what happened. */
export interface EventEmitter {
  /** Never throws: a listener, sync or async, cannot break a job. */
  emit<K extends keyof SteppingEvents>(event: K, payload: SteppingEvents[K]): void;
  /** Whether anybody would hear it: lets the hot path skip building the payload. */
  hasListeners(event: keyof SteppingEvents): boolean;
}
