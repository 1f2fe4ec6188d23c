import { type Token, token } from '@stepping/core';

/** The time of this process: what the local TM waits by, and what `memoryStore` keeps its dates by. Databases have clocks of their own. */
export interface Clock {
  /** Wall clock. Unit: ms since 1970. */
  now(): number;
  /**
   * Never goes back, also when somebody sets the wall clock, and goes on while the machine sleeps, as the leases in a database do. Only differences mean anything. Unit: ms.
   */
  monotonicMs(): number;
  /** Calls back once, after `ms` or at once if that is 0 or less. Holds the process open until then. Returns what cancels it. */
  setTimeout(callback: () => void, ms: number): () => void;
}

/** Provided by the local TM: {@link systemClock}, in tests a virtual one. */
export const Clock: Token<Clock> = token<Clock>('Clock');

/** Longest wait that Node's timer can do in one go, about 25 days; a longer one fires at once. Unit: ms. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * The monotonic clock stands still while a laptop or a virtual machine is suspended; the wall clock is set right afterwards. A jump of it by more than this, between two looks, is taken for
 * such a sleep. (Somebody who sets the clock ahead by hand makes leases look older than they are: they are renewed or lost, and nothing runs twice.) Unit: ms.
 */
const SLEEP_MS = 1_000;
let asleepMs = 0;
let lastOffset = Date.now() - performance.now();

/** Real time. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonicMs() {
    const awakeMs = performance.now();
    const offset = Date.now() - awakeMs;
    if (offset - lastOffset > SLEEP_MS) asleepMs += offset - lastOffset;
    lastOffset = offset;
    return awakeMs + asleepMs;
  },
  setTimeout(callback, ms) {
    if (ms > MAX_TIMER_MS) return longTimeout(callback, ms);
    const timer = setTimeout(callback, Math.max(0, ms));
    return () => clearTimeout(timer);
  },
};

function longTimeout(callback: () => void, ms: number): () => void {
  let cancel = () => {};
  const timer = setTimeout(() => {
    cancel = systemClock.setTimeout(callback, ms - MAX_TIMER_MS);
  }, MAX_TIMER_MS);
  return () => {
    clearTimeout(timer);
    cancel();
  };
}
