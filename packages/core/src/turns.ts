import { AsyncLocalStorage } from 'node:async_hooks';
import { SteppingError } from './stepping-error.js';

/**
 * A first-in-first-out queue for something that only one may use at a time: the write lock of a SQLite file. Everybody in this process who
 * writes to that file takes turns, so nobody is refused and nobody starves.
 */
export interface Turns {
  readonly key: string;
  /**
   * Runs `work` when its turn has come.
   *
   * @throws {@link SteppingError} `TX_NESTED` if the caller already has the turn: it would wait for itself.
   */
  run<R>(work: () => Promise<R>): Promise<R>;
  /** Whether the calling code runs inside a turn of this key that has not ended. */
  heldByCaller(): boolean;
}

interface Turn {
  readonly key: string;
  readonly outer: Turn | undefined;
  // Code that outlives its turn (a timer, a promise nobody awaited) no longer has it.
  ended: boolean;
}

const current = new AsyncLocalStorage<Turn>();
// A registered symbol on the global object: two copies of this package in one process must share the queue of a file.
const shared = globalThis as unknown as Record<symbol, Map<string, Promise<void>> | undefined>;
const queuesKey = Symbol.for('stepping.turns');
const queues = shared[queuesKey] ?? new Map<string, Promise<void>>();
shared[queuesKey] = queues;

/** The turns of `key`; the same key is the same queue anywhere in the process. */
export function turns(key: string): Turns {
  const heldByCaller = () => {
    for (let turn = current.getStore(); turn; turn = turn.outer) if (turn.key === key && !turn.ended) return true;
    return false;
  };
  return {
    key,
    heldByCaller,
    async run(work) {
      if (heldByCaller()) {
        throw new SteppingError(
          'TX_NESTED',
          `A transaction on ${key} is open in this very call, and this database allows one at a time: waiting for it would never end. Use the transaction that you have, or do this after it.`,
          { key },
        );
      }
      const before = queues.get(key);
      const { promise: mine, resolve: leave } = Promise.withResolvers<void>();
      queues.set(key, mine);
      await before;
      const turn: Turn = { key, outer: current.getStore(), ended: false };
      try {
        return await current.run(turn, work);
      } finally {
        turn.ended = true;
        if (queues.get(key) === mine) queues.delete(key);
        leave();
      }
    },
  };
}
