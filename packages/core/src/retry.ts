import type { RetryPolicy } from './step.js';
import { SteppingError } from './stepping-error.js';

/** A policy with every default filled in. `maxAttempts` is `Infinity` when unlimited. */
export interface ResolvedRetryPolicy {
  readonly maxAttempts: number;
  readonly minDelayMs: number;
  readonly maxDelayMs: number;
}

/** What a step may wait at most, whatever its policy says or `retryAfter()` asks for: ten years. A larger number would fit into no database. Unit: ms. */
const LONGEST_WAIT_MS = 10 * 365 * 86_400_000;

const DEFAULTS: ResolvedRetryPolicy = { maxAttempts: Number.POSITIVE_INFINITY, minDelayMs: 1_000, maxDelayMs: 3_600_000 };

/** The step's own policy over the app's over the defaults. */
export function resolveRetryPolicy(ofStep: RetryPolicy | undefined, ofApp: RetryPolicy | undefined): ResolvedRetryPolicy {
  return {
    maxAttempts: ofStep?.maxAttempts ?? ofApp?.maxAttempts ?? DEFAULTS.maxAttempts,
    minDelayMs: ofStep?.minDelayMs ?? ofApp?.minDelayMs ?? DEFAULTS.minDelayMs,
    maxDelayMs: ofStep?.maxDelayMs ?? ofApp?.maxDelayMs ?? DEFAULTS.maxDelayMs,
  };
}

/** Delay after failed attempt number `attempt` (from 1): doubles, capped, with up to 10 % jitter on top. Unit: ms. */
export function backoffMs(policy: ResolvedRetryPolicy, attempt: number, random: () => number = Math.random): number {
  // 2 ** 1024 is Infinity, and no time at all would be doubled to NaN.
  const base = Math.min(policy.minDelayMs * 2 ** Math.min(attempt - 1, 1_000), policy.maxDelayMs);
  return Math.round(base * (1 + random() / 10));
}

/**
 * What follows a failed attempt: the delay until the next one, or undefined when there is none (attempts used up, or `permanent()`).
 * `retryAfter()` counts as an attempt and names the delay itself. Unit: ms.
 */
export function nextAttemptInMs(policy: ResolvedRetryPolicy, attempt: number, error: unknown): number | undefined {
  if (SteppingError.is(error, 'STEP_PERMANENT') || attempt >= policy.maxAttempts) return undefined;
  const delayMs = SteppingError.is(error, 'STEP_RETRY_AFTER')
    ? Math.max(0, Number(error.details.delayMs) || 0)
    : backoffMs(policy, attempt);
  return Math.min(delayMs, LONGEST_WAIT_MS);
}
