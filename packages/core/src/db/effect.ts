import type { DbRef } from '../db-transaction.js';
import { gidFrom } from '../gid.js';
import type { StepContext } from '../step.js';
import { type StepScope, stepScopeOf } from '../step-scope.js';
import { SteppingError } from '../stepping-error.js';

/** Further words for `once`. */
export interface OnceOptions {
  /** Tells a second `once` of the same step (or of the same received key) from the first. Data at rest: it never changes. 1 to 64 of A-Z a-z 0-9 . _ - */
  readonly name?: string | undefined;
  /** For a received key, where there is a database per tenant: whose this one is. A step has its tenant in its context. */
  readonly tenant?: string | undefined;
}

/** Whether the work of `once` was done by this call. What it returned the first time is not kept. */
export type OnceResult<R> = { readonly ran: true; readonly value: R } | { readonly ran: false };

/** What is to happen once: the key of its barrier, which is data at rest, and whose it is. */
export interface Effect {
  readonly gid: string;
  readonly branchId: string;
  /** Of a step, or of who receives a key. */
  readonly op: 'once' | 'receive';
  readonly barrierId: string;
  /** For messages. */
  readonly called: string;
  readonly tenant: string | undefined;
  /** Of a step; a receiver has none. */
  readonly step: { readonly context: object; readonly scope: StepScope } | undefined;
}

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

/** @throws {@link SteppingError} `CONFIG_INVALID` */
export function effectOf(key: string | StepContext<any, any>, { name, tenant }: OnceOptions): Effect {
  if (name !== undefined && !NAME.test(name)) {
    throw invalid(`The name ${JSON.stringify(name)} of once() is not 1 to 64 of A-Z a-z 0-9 . _ -, beginning with a letter or digit.`);
  }
  if (typeof key === 'string') return received(key, name, tenant);
  const scope = typeof key === 'object' && key !== null ? stepScopeOf(key) : undefined;
  if (scope === undefined) {
    throw invalid(
      'once() takes the context that a step received, itself and not a copy of it, or a text: what a sender repeats with its request.',
    );
  }
  const { gid, idempotencyKey } = key;
  // The position, three digits; under runStep it may be any text.
  const branchId = idempotencyKey.startsWith(`${gid}/`) ? idempotencyKey.slice(gid.length + 1) : idempotencyKey;
  // With the instance: a gid that was purged and started anew is not held up by what its former life left behind.
  const { instance } = scope.claim;
  const barrierId = name === undefined ? instance : `${instance}/${name}`;
  return { gid, branchId, op: 'once', barrierId, called: idempotencyKey, tenant: key.tenant, step: { context: key, scope } };
}

// Hashed, so that any text fits the key, whatever the database says of its length and letters.
function received(key: string, name: string | undefined, tenant: string | undefined): Effect {
  if (key === '') throw invalid('once() got an empty key. Refuse a request that says no Idempotency-Key.');
  const barrierId = name ?? '-';
  return { gid: gidFrom('once', key), branchId: '00', op: 'receive', barrierId, called: JSON.stringify(key), tenant, step: undefined };
}

/**
 * To be asked only when the barrier went in (R10): somebody frozen before that may find none because the job has ended and was purged meanwhile.
 *
 * @throws {@link SteppingError} `LEASE_LOST`: roll back.
 */
export async function assertStillOurs({ step, called }: Effect): Promise<void> {
  const claim = step?.scope.claim;
  if (!claim?.isOld() || (await claim.isStillOurs())) return;
  throw new SteppingError(
    'LEASE_LOST',
    `${called} was given up long ago, and somebody else has or had the job: what was to happen once is rolled back. Nothing is lost.`,
    { key: called },
  );
}

// A second once() without a name would find the barrier of the first, and its work be skipped without a word.
const done = new WeakMap<object, Set<string>>();

/** @throws {@link SteppingError} `CONFIG_INVALID` if the same attempt has done an effect of the same key. */
export function assertNewHere(effect: Effect, ref: DbRef): void {
  if (effect.step && done.get(effect.step.context)?.has(hereAs(effect, ref))) throw secondHere(effect);
}

export function secondHere({ called }: Effect): SteppingError<'CONFIG_INVALID'> {
  return invalid(`once() is called a second time in one attempt of ${called}. Give the second one a name: once(…, { name: 'refund' }).`);
}

export function rememberHere(effect: Effect, ref: DbRef): void {
  if (effect.step) done.set(effect.step.context, (done.get(effect.step.context) ?? new Set()).add(hereAs(effect, ref)));
}

export function forgetHere(effect: Effect, ref: DbRef): void {
  if (effect.step) done.get(effect.step.context)?.delete(hereAs(effect, ref));
}

/** The effect in one database, as a text. */
export function hereAs({ gid, branchId, barrierId }: Effect, ref: DbRef): string {
  return JSON.stringify([ref.name, ref.tenant, gid, branchId, barrierId]);
}

function invalid(message: string): SteppingError<'CONFIG_INVALID'> {
  return new SteppingError('CONFIG_INVALID', message);
}
