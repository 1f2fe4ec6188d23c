import { type Token, token } from '@stepping/core';

/** The time of this process: what the local TM waits by, and what `memoryStore` keeps its dates by. Databases have clocks of their own. */
export interface Clock {
  /** Wall clock. Unit: ms since 1970. */
  now(): number;
  /** Never goes back, also when somebody sets the wall clock. Only differences mean anything. Unit: ms. */
  monotonicMs(): number;
  /** Calls back once, after `ms` or at once if that is 0 or less. Holds the process open until then. Returns what cancels it. */
  setTimeout(callback: () => void, ms: number): () => void;
}

/** Provided by the local TM: {@link systemClock}, in tests a virtual one. */
export const Clock: Token<Clock> = token<Clock>('Clock');

/** Longest wait that Node's timer can do in one go, about 25 days; a longer one fires at once. Unit: ms. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/** Real time. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs: () => performance.now(),
  setTimeout(callback, ms) {
    let timer: NodeJS.Timeout;
    const wait = (left: number) => {
      timer = left > MAX_TIMER_MS ? setTimeout(() => wait(left - MAX_TIMER_MS), MAX_TIMER_MS) : setTimeout(callback, Math.max(0, left));
    };
    wait(ms);
    return () => clearTimeout(timer);
  },
};
