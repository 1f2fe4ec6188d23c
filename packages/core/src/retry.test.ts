import { backoffMs, nextAttemptInMs, resolveRetryPolicy } from './retry.js';
import { permanent, retryAfter } from './stepping-error.js';

const policy = resolveRetryPolicy(undefined, undefined);

describe('Backoff', () => {
  it('doubles from a second to an hour, with up to 10 % on top', () => {
    expect([1, 2, 3, 12, 13, 5_000].map((attempt) => backoffMs(policy, attempt, () => 0))).toEqual([
      1_000, 2_000, 4_000, 2_048_000, 3_600_000, 3_600_000,
    ]);
    expect(backoffMs(policy, 1, () => 1)).toBe(1_100);
  });

  it('takes the step before the app before the default, each number by itself', () => {
    expect(resolveRetryPolicy({ minDelayMs: 0 }, { minDelayMs: 5, maxAttempts: 2 })).toEqual({
      minDelayMs: 0,
      maxAttempts: 2,
      maxDelayMs: 3_600_000,
    });
  });
});

describe('After a failed attempt', () => {
  const three = resolveRetryPolicy({ maxAttempts: 3 }, undefined);

  it('there is another one until they are used up', () => {
    expect(nextAttemptInMs(three, 2, new Error())).toBeGreaterThanOrEqual(2_000);
    expect(nextAttemptInMs(three, 3, new Error())).toBeUndefined();
    expect(nextAttemptInMs(policy, 1_000_000, new Error())).toBeGreaterThan(0);
  });

  it('permanent() means none, and retryAfter() its own delay, as long as attempts are left', () => {
    expect(nextAttemptInMs(policy, 1, permanent('no'))).toBeUndefined();
    expect(nextAttemptInMs(three, 1, retryAfter(12_345))).toBe(12_345);
    expect(nextAttemptInMs(three, 1, retryAfter(-5))).toBe(0);
    expect(nextAttemptInMs(three, 3, retryAfter(12_345))).toBeUndefined();
  });
});
