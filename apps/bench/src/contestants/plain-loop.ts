import { setTimeout as sleep } from 'node:timers/promises';
import type { Payload } from '../contestant.js';

/** Jobs between their claim and their end, in the plain loops. */
const IN_FLIGHT = 1_000;
/** Rows in one claim. */
const CLAIM = 500;
/** Between two claims that found nothing. Unit: ms. */
const IDLE_MS = 5;

export interface PlainJob {
  readonly id: number;
  readonly steps: readonly Payload[];
}

/** What a driver's loop has to write for a job. */
export interface PlainWrites {
  claim(limit: number): Promise<readonly PlainJob[]>;
  /** Resolves when it is committed that so many steps of the job are done; with all of them the job is finished. */
  saveProgress(job: PlainJob, stepsDone: number): Promise<void>;
}

/** Claims, and runs a thousand jobs at once, each awaiting the commit of a step before it begins the next. Returns what ends it. */
export function runPlainLoop({ claim, saveProgress }: PlainWrites, onStep: (args: Payload) => Promise<void>): () => Promise<void> {
  let stopped = false;
  let inFlight = 0;
  let roomFreed = () => {};

  const run = async (job: PlainJob) => {
    for (const [i, args] of job.steps.entries()) {
      await onStep(args);
      await saveProgress(job, i + 1);
    }
    inFlight--;
    roomFreed();
  };
  const claimForEver = async () => {
    while (!stopped) {
      if (IN_FLIGHT - inFlight < CLAIM) {
        await new Promise<void>((resolve) => {
          roomFreed = resolve;
        });
        continue;
      }
      const jobs = await claim(CLAIM);
      inFlight += jobs.length;
      for (const job of jobs) void run(job);
      if (jobs.length === 0) await sleep(IDLE_MS);
    }
  };
  const ended = claimForEver();
  return async () => {
    stopped = true;
    roomFreed();
    await ended;
  };
}
