import { SteppingError } from './stepping-error.js';

/** What a step fails with that took longer than its `timeoutMs`; its signal is aborted with it. The same under all transaction managers. */
export function stepTimedOut(gid: string, step: string, timeoutMs: number): SteppingError<'STEP_TIMEOUT'> {
  return new SteppingError(
    'STEP_TIMEOUT',
    `Step ${step} of job ${gid} took more than ${timeoutMs} ms. Pass ctx.signal on to what it waits for, or raise its timeoutMs.`,
    { gid, step, timeoutMs },
  );
}

/** What the signal of a step is aborted with that still runs at the end of the drain time of `stop()`. */
export function steppingStops(gid: string): SteppingError<'NOT_STARTED'> {
  return new SteppingError('NOT_STARTED', `Stepping is being stopped; job ${gid} goes on in another process or after the restart.`, {
    gid,
  });
}
