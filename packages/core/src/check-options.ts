import type { RetryPolicy } from './step.js';
import { SteppingError } from './stepping-error.js';

/** The longest delay that a timer of JavaScript takes. Unit: ms. */
const MAX_TIMER_MS = 2_147_483_647;

/** @throws {@link SteppingError} `CONFIG_INVALID`: `what` says which option of what, `rule` what it has to be. */
export function refuse(what: string, value: unknown, rule: string): never {
  throw new SteppingError('CONFIG_INVALID', `${what} is ${show(value)}, but it must be ${rule}.`, { option: what, value });
}

export function checkInteger(what: string, value: unknown, { min, max = Number.MAX_SAFE_INTEGER }: { min: number; max?: number }): void {
  if (Number.isInteger(value) && (value as number) >= min && (value as number) <= max) return;
  refuse(what, value, max === Number.MAX_SAFE_INTEGER ? `a whole number of at least ${min}` : `a whole number from ${min} to ${max}`);
}

/** A span of time that a timer can wait. */
export function checkMs(what: string, value: unknown, { min = 0, max = MAX_TIMER_MS }: { min?: number; max?: number } = {}): void {
  if (typeof value === 'number' && value >= min && value <= max) return;
  refuse(what, value, `a number of milliseconds from ${min} to ${max}`);
}

export function checkText(what: string, value: unknown): void {
  if (typeof value !== 'string' || value === '') refuse(what, value, 'a text that is not empty');
}

export function checkRetry(what: string, retry: RetryPolicy | undefined): void {
  if (retry === undefined) return;
  if (typeof retry !== 'object' || retry === null) refuse(what, retry, 'an object like { maxAttempts: 5 }');
  const { maxAttempts, minDelayMs, maxDelayMs } = retry;
  if (maxAttempts !== undefined && maxAttempts !== Number.POSITIVE_INFINITY) checkInteger(`${what}.maxAttempts`, maxAttempts, { min: 1 });
  if (minDelayMs !== undefined) checkMs(`${what}.minDelayMs`, minDelayMs, { max: Number.MAX_SAFE_INTEGER });
  if (maxDelayMs !== undefined) checkMs(`${what}.maxDelayMs`, maxDelayMs, { max: Number.MAX_SAFE_INTEGER });
  if (minDelayMs !== undefined && maxDelayMs !== undefined && maxDelayMs < minDelayMs) {
    refuse(`${what}.maxDelayMs`, maxDelayMs, `at least minDelayMs, which is ${minDelayMs}`);
  }
}

/** Longest name that every database takes in an index. */
const MAX_NAME_CHARS = 200;

/** A text that is stored by itself and compared. What a database cannot hold as it is would come back as another one, and some ignore spaces at the end. */
export function checkName(what: string, value: unknown): void {
  const isText = typeof value === 'string';
  if (isText && value !== '' && value.length <= MAX_NAME_CHARS && value.trim() === value && value.isWellFormed() && !value.includes('\0'))
    return;
  refuse(
    what,
    isText ? value.slice(0, MAX_NAME_CHARS + 1) : value,
    `a text of 1 to ${MAX_NAME_CHARS} characters, without spaces around it, without NUL and without half of a surrogate pair`,
  );
}

function show(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'function') return `the function ${value.name || '(without a name)'}`;
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'an invalid Date' : value.toISOString();
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object';
  return String(value);
}
