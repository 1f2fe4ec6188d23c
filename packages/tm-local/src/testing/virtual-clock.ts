import type { Clock } from '../clock.js';

/** A {@link Clock} that stands still until it is told to move. */
export interface VirtualClock extends Clock {
  /**
   * Moves time on by `ms`, firing the timers on the way in their order, each at its own time. Before the first, between two and after the last
   * one, everything that can go on without time passing does so.
   */
  advance(ms: number): Promise<void>;
  /** When the next timer fires; undefined if there is none. Unit: ms since 1970. */
  nextTimerAt(): number | undefined;
}

interface Timer {
  readonly at: number;
  readonly callback: () => void;
}

/** Time for tests: a day passes in the time that the code of that day takes. Starts at `start`, by default on 1 January 2026. */
export function virtualClock(start: Date = new Date(Date.UTC(2026, 0, 1))): VirtualClock {
  const startMs = start.getTime();
  const timers = new Set<Timer>();
  let now = startMs;

  // Timers of one instant fire in the order in which they were set: a Set iterates so, and only a strictly earlier one wins.
  const next = () => {
    let first: Timer | undefined;
    for (const timer of timers) if (first === undefined || timer.at < first.at) first = timer;
    return first;
  };

  return {
    now: () => now,
    monotonicMs: () => now - startMs,
    setTimeout(callback, ms) {
      const timer = { at: now + Math.max(0, ms), callback };
      timers.add(timer);
      return () => void timers.delete(timer);
    },
    nextTimerAt: () => next()?.at,
    async advance(ms) {
      const until = now + ms;
      await settle();
      for (let timer = next(); timer && timer.at <= until; timer = next()) {
        timers.delete(timer);
        now = timer.at;
        timer.callback();
        await settle();
      }
      now = Math.max(now, until);
    },
  };
}

/** Turns of the event loop that pass before time moves on. One runs every promise that is ready; the others are for code that itself waits a turn. */
const TURNS = 3;

async function settle(): Promise<void> {
  for (let turn = 0; turn < TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
}
