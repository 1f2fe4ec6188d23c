/** What an answer means for the step: it is done, it is tried again, or the job fails. */
export type HttpOutcome = 'succeed' | 'retry' | 'fail';

/** The server has understood the request and will never take it. */
const FAILS: ReadonlySet<number> = new Set([400, 405, 410, 413, 414, 415, 422]);

/** The table of the docs, where the step's own `outcome` says nothing. */
export function outcomeOf(status: number): HttpOutcome {
  if (status >= 200 && status < 300) return 'succeed';
  if (status >= 300 && status < 400) return 'fail';
  return FAILS.has(status) ? 'fail' : 'retry';
}

/** A server that asks for more is asked again anyway: a slip there must not put a job off for years. Unit: ms. */
const MAX_RETRY_AFTER_MS = 86_400_000;

/**
 * How long `Retry-After` asks to wait; undefined when it asks for nothing, so that the step's own backoff applies. A date is measured by the `Date` of the
 * same answer, whose clock wrote both. Unit: ms.
 *
 * @see RFC 9110 §10.2.3
 */
export function retryAfterMs(
  headers: { readonly 'retry-after'?: string; readonly date?: string },
  nowMs: number = Date.now(),
): number | undefined {
  const asked = headers['retry-after']?.trim() ?? '';
  const delayMs = /^\d+$/.test(asked) ? Number(asked) * 1_000 : Date.parse(asked) - (Date.parse(headers.date ?? '') || nowMs);
  return delayMs > 0 ? Math.min(delayMs, MAX_RETRY_AFTER_MS) : undefined;
}
