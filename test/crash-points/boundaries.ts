import type { DbProvider, DbTransaction, StepLedger } from '@stepping/core';
import type { EnlistedStore, TransactionStore } from '@stepping/tm-local';

/** How the enumeration treats a member of a boundary. */
export type Treatment =
  /** A call that reads or writes what the protocol decides by: every accident happens to it. */
  | 'call'
  /** Asks whether there is work. How often depends on time, so only a call that would find something is a point. */
  | 'poll'
  /** Never delivered, in no run: whatever depends on it would show. */
  | 'hint'
  /** Asks nothing of a database, or only when an app starts and stops. */
  | 'local';

// These lists are complete, or they do not compile; a call of a member that they do not have fails the run. A new member has to be given a treatment here, and,
// as a `call`, a scenario in which it is called.

export const STORE = {
  create: 'call',
  createAlone: 'call',
  save: 'call',
  extend: 'call',
  change: 'call',
  claimDue: 'poll',
  nextDueInMs: 'poll',
  resolve: 'call',
  find: 'call',
  list: 'call',
  stats: 'local',
  startPurge: 'call',
  finishPurge: 'call',
  maxBatch: 'local',
  migrate: 'local',
  start: 'local',
  stop: 'local',
  onDue: 'hint',
  hintDue: 'hint',
  enlist: 'local',
  turns: 'local',
} as const satisfies Record<keyof Required<TransactionStore>, Treatment>;

export const ENLISTED = { create: 'call' } as const satisfies Record<keyof EnlistedStore, Treatment>;

export const TRANSACTION = {
  ref: 'local',
  isActive: 'local',
  insertBarrier: 'call',
  deleteBarrier: 'call',
  native: 'local',
  commit: 'call',
  withCommit: 'local',
  commitOutcome: 'local',
  rollback: 'call',
  close: 'call',
} as const satisfies Record<keyof Required<DbTransaction>, Treatment>;

export const PROVIDER = {
  provider: 'local',
  name: 'local',
  perTenant: 'local',
  resolveInDoubt: 'call',
  hasCommitted: 'call',
  isReachable: 'local',
  ledger: 'local', // its calls: LEDGER
  purgeBarriers: 'call',
  migrate: 'local',
} as const satisfies Record<keyof Required<DbProvider>, Treatment>;

export const LEDGER = {
  retentionMs: 'local',
  begin: 'call',
  extend: 'call',
  end: 'call',
  read: 'call',
} as const satisfies Record<keyof StepLedger, Treatment>;

/** What a call does instead of rejecting when its answer is lost: its contract says that it never rejects. */
export const UNHEARD: Readonly<Record<string, unknown>> = { 'store.resolve': 'unknown', 'db.resolveInDoubt': 'unknown' };

/** Called in no scenario, and why. */
export const NOT_REACHED: Readonly<Record<string, string>> = {
  'transaction.close': 'only where a rollback was not acknowledged: a second accident',
};

/** Every call that some scenario has to make, by the names of boundaries. Default: those of jobs that are in a store. */
export function callsToCover(
  lists: Readonly<Record<string, Readonly<Record<string, Treatment>>>> = {
    store: STORE,
    enlisted: ENLISTED,
    transaction: TRANSACTION,
    db: PROVIDER,
  },
  notReached: Readonly<Record<string, string>> = NOT_REACHED,
): string[] {
  return Object.entries(lists)
    .flatMap(([name, list]) => Object.keys(list).flatMap((member) => (list[member] === 'call' ? [`${name}.${member}`] : [])))
    .filter((call) => !(call in notReached));
}

/** Passes a call on, or has an accident with it. */
export type Passage = <R>(call: string, real: () => Promise<R>, args: readonly unknown[]) => Promise<R>;

/** The same object, whose calls go through `pass`. `beyond`: members of the class that are not of the boundary are left as they are. */
export function throughBoundary<T extends object>(
  name: string,
  target: T,
  treatments: Readonly<Record<string, Treatment>>,
  pass: Passage,
  { beyond = false }: { beyond?: boolean } = {},
): T {
  return new Proxy(target, {
    get(_, member) {
      const value = Reflect.get(target, member, target) as unknown;
      if (typeof value !== 'function') return value;
      const call = value.bind(target) as (...args: unknown[]) => any;
      const treatment = treatments[String(member)];
      if (treatment === undefined && !beyond) throw new Error(`${name}.${String(member)}: a call across a boundary that no list covers`);
      if (treatment === 'hint') return () => () => {};
      if (treatment === undefined || treatment === 'local') return call;
      return (...args: unknown[]) => pass(`${name}.${String(member)}`, () => call(...args), args);
    },
  });
}
