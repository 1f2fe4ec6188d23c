import type { Arbitrary } from 'fast-check';
import type { Change, CreateJob, Lease, Save, StoredJob, TransactionStore } from '../../transaction-store.js';
import {
  aJob,
  aPreparedJob,
  checkpoint,
  claimedUntilEmpty,
  countAttempt,
  fail,
  finish,
  HOUR_MS,
  handBack,
  moveToQueue,
  retry,
  verdict,
} from './rows.js';

/** An optional peer: only who tests a store needs it. */
export type FastCheck = typeof import('fast-check');

/** All times of random calls are by the hour, and none of them takes half of one. */
export const QUEUES = ['default', 'other', '~db/memory/orders'] as const;

/** A call that a correct caller could make, before it is known to what state it comes. Numbers pick from what is there then. */
export type RandomCall =
  | { readonly verb: 'create'; readonly jobs: readonly RandomJob[] }
  | { readonly verb: 'claimDue'; readonly queue: (typeof QUEUES)[number] }
  | { readonly verb: 'save'; readonly saves: readonly RandomSave[] }
  | { readonly verb: 'change'; readonly changes: readonly RandomChange[] }
  | { readonly verb: 'extend'; readonly leases: readonly OfGid[] }
  | { readonly verb: 'resolve'; readonly gid: number; readonly instance: number }
  | { readonly verb: 'find'; readonly gid: number };

interface OfGid {
  readonly gid: number;
  /** Which of the leases that were handed out for it, be they lost by now. */
  readonly lease: number;
}

export interface RandomJob {
  readonly gid: number;
  readonly instance: number;
  readonly prepared: boolean;
  readonly held: boolean;
  readonly later: boolean;
  readonly tenant: boolean;
  readonly firstLease: number;
}

interface RandomSave extends OfGid {
  readonly kind: number;
  readonly step: number;
  readonly attempt: number;
}

interface RandomChange {
  readonly gid: number;
  readonly instance: number;
  readonly kind: number;
  readonly held: boolean;
}

/** A lease that somebody was given. */
export interface HandedOut extends Lease {
  readonly status: 'prepared' | 'submitted';
}

export function randomJob(fc: FastCheck, gid: Arbitrary<number>): Arbitrary<RandomJob> {
  return fc.record({
    gid,
    instance: fc.nat(2),
    prepared: fc.boolean(),
    held: fc.nat(2).map((n) => n === 0),
    later: fc.boolean(),
    tenant: fc.boolean(),
    firstLease: fc.integer({ min: 1, max: 2 ** 30 }),
  });
}

/** Calls for so many gids. */
export function randomCalls(fc: FastCheck, gids: number): { readonly [V in RandomCall['verb']]: Arbitrary<RandomCall> } {
  const gid = fc.nat(gids - 1);
  const some = <T extends { readonly gid: number }>(of: Arbitrary<T>) =>
    fc
      .uniqueArray(of, { minLength: 1, maxLength: 3, selector: (entry) => entry.gid })
      .map((entries) => entries.sort((a, b) => a.gid - b.gid));
  const lease = fc.nat(5);
  return {
    create: fc.record({ verb: fc.constant('create'), jobs: some(randomJob(fc, gid)) }),
    claimDue: fc.record({ verb: fc.constant('claimDue'), queue: fc.constantFrom('default', 'default', ...QUEUES) }),
    save: fc.record({
      verb: fc.constant('save'),
      saves: some(fc.record({ gid, lease, kind: fc.nat(6), step: fc.nat(3), attempt: fc.integer({ min: 1, max: 4 }) })),
    }),
    change: fc.record({
      verb: fc.constant('change'),
      changes: some(fc.record({ gid, instance: fc.nat(2), kind: fc.nat(3), held: fc.boolean() })),
    }),
    extend: fc.record({ verb: fc.constant('extend'), leases: some(fc.record({ gid, lease })) }),
    resolve: fc.record({ verb: fc.constant('resolve'), gid, instance: fc.nat(2) }),
    find: fc.record({ verb: fc.constant('find'), gid }),
  };
}

export function theJob(gids: readonly string[], { gid: i, instance, prepared, held, later, tenant, firstLease }: RandomJob): CreateJob {
  const gid = gids[i] as string;
  const over = {
    gid,
    instance: `${gid}/${instance}`,
    held,
    dueInMs: held || later ? HOUR_MS : 0,
    lease: firstLease,
    tenant: tenant ? 'acme' : undefined,
  };
  return prepared ? aPreparedJob(over) : aJob(over);
}

/** Undefined where no lease of that gid was handed out yet. */
export function theSave(
  gids: readonly string[],
  handedOut: readonly HandedOut[],
  { kind, step, attempt, ...of }: RandomSave,
): Save | undefined {
  const lease = theLease(gids, handedOut, of);
  if (!lease) return undefined;
  const prepared: readonly Save[] = [
    verdict(lease, 'submitted', true),
    verdict(lease, 'submitted', false),
    verdict(lease, 'rolled-back', true),
    { ...verdict(lease, 'submitted', true), status: 'prepared', dueInMs: HOUR_MS, queue: undefined },
  ];
  const submitted: readonly Save[] = [
    checkpoint(lease, step),
    countAttempt(lease, attempt, step),
    { ...retry(lease, attempt, step), dueInMs: HOUR_MS },
    handBack(lease, attempt, step),
    moveToQueue(lease, 'other'),
    finish(lease),
    fail(lease, step),
  ];
  const saves = lease.status === 'prepared' ? prepared : submitted;
  return saves[kind % saves.length];
}

export function theLease(gids: readonly string[], handedOut: readonly HandedOut[], { gid, lease }: OfGid): HandedOut | undefined {
  const leases = handedOut.filter((entry) => entry.gid === gids[gid]);
  // The youngest one first: shrinking leads to what a holder does while he is one.
  return leases.at(-1 - (lease % leases.length));
}

export function theChange(gids: readonly string[], { gid: i, instance: n, kind, held }: RandomChange): Change {
  const gid = gids[i] as string;
  const common = { gid, queue: undefined, dueInMs: held ? HOUR_MS : 0, held, error: undefined };
  const instance = `${gid}/${n}`;
  const changes: readonly Change[] = [
    { ...common, instance, from: ['prepared'], to: 'submitted', queue: 'default' },
    { ...common, instance, from: ['prepared'], to: 'rolled-back' },
    { ...common, instance: undefined, from: ['submitted', 'failed'], to: 'cancelled', error: { name: 'Cancelled', message: 'by hand' } },
    { ...common, instance: undefined, from: ['failed'], to: 'submitted' },
  ];
  return changes[kind] as Change;
}

/** All due rows of a queue, sorted. Their age is left out: two clocks never agree on it. */
export async function claimAll(store: TransactionStore, queue: string): Promise<readonly unknown[]> {
  const claimed = await claimedUntilEmpty(store, queue);
  return [...claimed].sort((a, b) => (a.gid < b.gid ? -1 : 1)).map(({ ageMs: _, ...job }) => job);
}

/** A row with its dates as what they mean: rows are due now or in an hour. */
export function comparableRow(row: StoredJob | undefined, now: number): unknown {
  if (!row) return undefined;
  const { createdAt: _, dueAt, finishedAt, ...rest } = row;
  const due = dueAt && (dueAt.getTime() <= now + HOUR_MS / 2 ? 'due' : 'later');
  return { ...rest, due, finished: finishedAt !== undefined };
}

/** How random tests of a store run: few by default, `STEPPING_TEST_RUNS=20` for twenty times as many; `STEPPING_TEST_SEED` repeats what a failure printed. */
export function randomRuns(runs: number, withinMs: number): { numRuns: number; seed?: number; interruptAfterTimeLimit?: number } {
  const seed = Number(process.env.STEPPING_TEST_SEED);
  const more = Number(process.env.STEPPING_TEST_RUNS) || 1;
  // Shrinking a failure on a slow database ends in time to be printed.
  return { numRuns: runs * more, interruptAfterTimeLimit: withinMs * more, ...(seed ? { seed } : {}) };
}

export async function fastCheck(): Promise<FastCheck> {
  try {
    return await import('fast-check');
  } catch (cause) {
    throw new Error('describeTransactionStore makes random calls by fast-check. Install it: npm install --save-dev fast-check@4', {
      cause,
    });
  }
}
