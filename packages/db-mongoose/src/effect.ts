import { type DbRef, gidFrom, type StepContext, SteppingError, type StepScope, stepScopeOf } from '@stepping/core';
import { type Barrier, effectKey } from './barrier-collection.js';

/** Further words for {@link once}. */
export interface OnceOptions {
  /** Tells a second `once` of the same step (or of the same received key) from the first. Data at rest: it never changes. 1 to 64 of A-Z a-z 0-9 . _ - */
  readonly name?: string | undefined;
  /** For a received key, where there is a database per tenant: whose this one is. A step has its tenant in its context. */
  readonly tenant?: string | undefined;
}

/** What is to happen once: its barrier, and whose it is. */
export interface Effect {
  readonly barrier: Pick<Barrier, '_id' | 'op' | 'gid'>;
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
  const position = idempotencyKey.startsWith(`${gid}/`) ? idempotencyKey.slice(gid.length + 1) : idempotencyKey;
  // With the instance: a gid that was purged and started anew is not held up by what its former life left behind.
  const { instance } = scope.claim;
  const barrierId = name === undefined ? instance : `${instance}/${name}`;
  return {
    barrier: { _id: effectKey(gid, position, 'once', barrierId), op: 'once', gid },
    called: idempotencyKey,
    tenant: key.tenant,
    step: { context: key, scope },
  };
}

// Hashed, so that any text will do.
function received(key: string, name: string | undefined, tenant: string | undefined): Effect {
  if (key === '') throw invalid('once() got an empty key. Refuse a request that says no Idempotency-Key.');
  const gid = gidFrom('once', key);
  const _id = effectKey(gid, '00', 'receive', name ?? '-');
  return { barrier: { _id, op: 'receive', gid }, called: JSON.stringify(key), tenant, step: undefined };
}

// A second once() without a name would find the barrier of the first, and its work be skipped without a word.
const done = new WeakMap<object, Set<string>>();

/** @throws {@link SteppingError} `CONFIG_INVALID` if the same attempt has done an effect of the same key. */
export function assertNewHere(effect: Effect, ref: DbRef): void {
  if (!effect.step || !done.get(effect.step.context)?.has(hereAs(effect, ref))) return;
  throw invalid(
    `once() is called a second time in one attempt of ${effect.called}. Give the second one a name: once(…, { name: 'refund' }).`,
  );
}

export function rememberHere(effect: Effect, ref: DbRef): void {
  if (effect.step) done.set(effect.step.context, (done.get(effect.step.context) ?? new Set()).add(hereAs(effect, ref)));
}

function hereAs({ barrier }: Effect, ref: DbRef): string {
  return JSON.stringify([ref.name, ref.tenant, barrier._id]);
}

function invalid(message: string): SteppingError<'CONFIG_INVALID'> {
  return new SteppingError('CONFIG_INVALID', message);
}
