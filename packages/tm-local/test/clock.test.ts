import { describe, expect, it, jest } from '@jest/globals';
import { systemClock } from '../src/index.js';
import { virtualClock } from '../src/testing/index.js';

const DAY_MS = 86_400_000;

describe('systemClock', () => {
  it('calls back once, after the time', async () => {
    const from = systemClock.monotonicMs();
    await new Promise<void>((resolve) => void systemClock.setTimeout(resolve, 30));
    // Timers count in whole milliseconds, and may be up to one early.
    expect(systemClock.monotonicMs() - from).toBeGreaterThan(28);
  });

  it('waits for longer than a timer of Node can', () => {
    jest.useFakeTimers();
    try {
      const called = jest.fn();
      systemClock.setTimeout(called, 60 * DAY_MS);
      jest.advanceTimersByTime(60 * DAY_MS - 1);
      expect(called).not.toHaveBeenCalled();
      jest.advanceTimersByTime(1);
      expect(called).toHaveBeenCalledTimes(1);

      const cancel = systemClock.setTimeout(called, 60 * DAY_MS);
      jest.advanceTimersByTime(50 * DAY_MS);
      cancel();
      expect(jest.getTimerCount()).toBe(0);
    } finally {
      jest.useRealTimers();
    }
  });

  it('counts the time that the machine was asleep, and never goes back', () => {
    const wall = jest.spyOn(Date, 'now');
    try {
      const real = Date.now();
      const from = systemClock.monotonicMs();
      wall.mockReturnValue(real + 2 * 3_600_000);
      const awake = systemClock.monotonicMs();
      expect(awake - from).toBeGreaterThan(2 * 3_600_000 - 100);
      wall.mockReturnValue(real - DAY_MS);
      expect(systemClock.monotonicMs()).toBeGreaterThanOrEqual(awake);
    } finally {
      wall.mockRestore();
    }
  });
});

describe('virtualClock', () => {
  it('stands still until it is moved on', async () => {
    const clock = virtualClock(new Date(1_000));
    expect([clock.now(), clock.monotonicMs(), clock.nextTimerAt()]).toEqual([1_000, 0, undefined]);
    await clock.advance(500);
    expect([clock.now(), clock.monotonicMs()]).toEqual([1_500, 500]);
  });

  it('fires timers in order, each at its own time, those of one instant as they were set', async () => {
    const clock = virtualClock(new Date(0));
    const fired: string[] = [];
    const set = (name: string, ms: number) => clock.setTimeout(() => fired.push(`${name}@${clock.now()}`), ms);
    set('late', 300);
    set('first', 100);
    set('also first', 100);
    set('at once', -5);
    set('too late', 301);
    const cancel = set('never', 200);
    cancel();
    await clock.advance(300);
    expect(fired).toEqual(['at once@0', 'first@100', 'also first@100', 'late@300']);
    expect(clock.nextTimerAt()).toBe(301);
  });

  it('lets code that a timer woke set the next one within the same advance', async () => {
    const clock = virtualClock(new Date(0));
    const sleep = (ms: number) => new Promise<void>((resolve) => void clock.setTimeout(resolve, ms));
    const woke: number[] = [];
    const loop = async () => {
      for (;;) {
        await sleep(1_000);
        await Promise.resolve();
        await new Promise((resolve) => setImmediate(resolve));
        woke.push(clock.now());
      }
    };
    void loop();
    await clock.advance(3_500);
    expect(woke).toEqual([1_000, 2_000, 3_000]);
  });
});
