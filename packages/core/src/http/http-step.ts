import type { DepsOf, Injectable } from '../injection.js';
import type { JsonSafe } from '../json.js';
import type { Input, NoArgs, Output, Schema } from '../schema.js';
import { defineStep, type RunContext, type Step, type StepOptions } from '../step.js';
import { permanent, retryAfter } from '../stepping-error.js';
import { authorize, type HttpRequest, planRequest } from './http-request.js';
import { type HttpOutcome, outcomeOf, retryAfterMs } from './outcome.js';
import { type HttpAnswer, send } from './send.js';

/** What {@link httpStep} takes beside name, queue, retry and timeout. */
export interface HttpStepOptions<A extends Schema, I extends Record<string, Injectable>> {
  /** Any Standard Schema. Default: the step takes no args. */
  args?: A & JsonSafe<A>;
  /** What {@link headers} needs. */
  inject?: I;
  /**
   * The request for these args. Called at every attempt, and nothing but its args should go into it, so that a repeat is the same request; only the args are
   * stored, the request is not.
   */
  request: (args: Output<A>) => HttpRequest;
  /**
   * Headers of this attempt: the place for credentials. Asked at every attempt, so a rotated key is picked up; laid over `request().headers`; never
   * stored, never logged, in no error, and not sent on to another host by a redirect.
   */
  headers?(context: {
    deps: DepsOf<I>;
    tenant: string | undefined;
  }): Readonly<Record<string, string>> | Promise<Readonly<Record<string, string>>>;
  /**
   * What a status means for the step. Default, also where it answers undefined: 2xx succeed; 3xx, 400, 405, 410, 413, 414, 415 and 422 fail for good; all
   * else is tried again, because credentials that have just been rotated (401, 403) or a route that is not deployed yet (404) must not kill a backlog.
   */
  outcome?(status: number): HttpOutcome | undefined;
}

/**
 * Makes a step that sends one HTTP request, through axios (an optional peer of this package: `npm install axios`).
 *
 * - Every attempt carries `Idempotency-Key: <ctx.idempotencyKey>`, always the same one, unless the request sets that header itself.
 * - `timeoutMs` bounds the whole exchange, the body of the answer included.
 * - `Retry-After`, in seconds or as a date (measured by the server's own `Date`), puts the next attempt off, by at most 24 hours; one that is zero, past
 *   or unreadable leaves the step's own backoff in charge.
 * - Redirects are not followed and fail the step, naming the target, unless `followRedirects` is set.
 * - Proxies named in the environment (`HTTP_PROXY`, …) are not used, and defaults and interceptors of your own axios do not apply:
 *   the request goes where `request` says and nowhere else.
 * - Errors name the method, the URL without its query, and the status, and cite the start of a textual answer, unless that repeats a credential.
 *
 * An attempt fails with `STEP_PERMANENT` (a status that fails; a request that can never be sent: a bad URL, two bodies, a bad header),
 * `STEP_RETRY_AFTER`, `DEPENDENCY_MISSING` (no axios), the reason of `ctx.signal`, or a plain `Error` that is tried again.
 *
 * @example
 * export const callBank = httpStep({
 *   name: 'bank.out',
 *   args: Transfer,
 *   inject: { secrets: Secrets },
 *   request: (transfer) => ({ method: 'POST', url: 'https://bank.example/transfers', json: transfer }),
 *   headers: async ({ deps }) => ({ authorization: `Bearer ${await deps.secrets.bankToken()}` }),
 * });
 */
export function httpStep<const N extends string, A extends Schema = NoArgs, I extends Record<string, Injectable> = {}>(
  definition: StepOptions<N> & HttpStepOptions<A, I>,
): Step<N, Input<A>, DepsOf<I>> {
  const { request, headers, outcome, ...options } = definition;

  async function run(context: RunContext<Output<A>, DepsOf<I>, Input<A>>): Promise<void> {
    const planned = planRequest(definition.name, request(context.args), context.idempotencyKey);
    const credentials = await headers?.({ deps: context.deps, tenant: context.tenant });
    const wire = authorize(definition.name, planned, credentials ?? {});
    const answer = await send(wire, (status) => judge(status) === 'succeed', context.signal);
    const judged = judge(answer.status);
    if (judged === 'succeed') return;
    throw judged === 'fail' ? permanent(refusal(answer)) : tryAgain(answer);
  }

  function judge(status: number): HttpOutcome {
    return outcome?.(status) ?? outcomeOf(status);
  }

  return defineStep({ ...options, run } as Parameters<typeof defineStep>[0]) as unknown as Step<N, Input<A>, DepsOf<I>>;
}

function refusal(answer: HttpAnswer): string {
  if (answer.redirect === undefined)
    return `${answered(answer)}. A repeat would not help: mend the request or the args, then redrive the job.`;
  return `${answered(answer)}, a redirect to ${answer.redirect}. Request that URL itself, or set followRedirects.`;
}

function tryAgain(answer: HttpAnswer): Error {
  const delayMs = retryAfterMs(answer.headers);
  return delayMs === undefined
    ? new Error(answered(answer))
    : retryAfter(delayMs, `${answered(answer)}, and to come back in ${delayMs} ms`);
}

function answered(answer: HttpAnswer): string {
  const said = answer.excerpt === '' ? '' : `: ${answer.excerpt}`;
  return `${answer.request} answered ${answer.status}${said}`;
}
