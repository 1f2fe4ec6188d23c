import type { DbRef } from '@stepping/core';
import type { Clock } from './clock.js';

/** Questions at a time to one database: one in trouble is not asked by a thousand at once. */
const ASKING = 2;
/** Jobs that may wait for such a place with their claim in hand. */
const WAITING = 8;
/** All the places of one database. */
export const PLACES_PER_DATABASE: number = ASKING + WAITING;
/** A database that is down is tried again after this: one question, and the others are put back meanwhile. Unit: ms. */
const TRY_AGAIN_MS = 5_000;

/** `ask`: and then {@link DatabaseGates.leave}. `down`: the database was just found to be down. */
export type Admission = 'ask' | 'down';

interface Gate {
  asking: number;
  readonly waiting: ((admission: Admission) => void)[];
  /** Set while the database is down: when it is tried again. */
  tryAgainAt: number | undefined;
}

/**
 * Lets questions through to databases, a few at a time for each, and to one that is down only now and then. A tenant's database is one of its own: what it does not answer holds up
 * its own jobs and nobody else's.
 */
export class DatabaseGates {
  readonly #clock: Clock;
  readonly #gates = new Map<string, Gate>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Resolves when it is this one's turn to ask, or when there is no use in it. */
  async enter(db: DbRef): Promise<Admission> {
    const gate = this.#gateOf(db);
    if (gate.tryAgainAt !== undefined) {
      if (gate.asking > 0 || this.#clock.monotonicMs() < gate.tryAgainAt) return 'down';
    } else if (gate.asking >= ASKING) {
      return new Promise((admit) => gate.waiting.push(admit)); // who leaves hands over the place
    }
    gate.asking++;
    return 'ask';
  }

  /** The question was answered, or the database could not be reached. True: this is news. */
  leave(db: DbRef, reachable: boolean): boolean {
    const gate = this.#gateOf(db);
    const news = reachable === (gate.tryAgainAt !== undefined);
    if (reachable) gate.tryAgainAt = undefined;
    else {
      gate.tryAgainAt = this.#clock.monotonicMs() + TRY_AGAIN_MS;
      for (const admit of gate.waiting.splice(0)) admit('down');
    }
    const next = gate.waiting.shift();
    if (next) next('ask');
    else if (--gate.asking === 0 && gate.tryAgainAt === undefined) this.#gates.delete(keyOf(db));
    return news;
  }

  /** Whether one more would have no place. */
  isCrowded(db: DbRef): boolean {
    const gate = this.#gates.get(keyOf(db));
    return gate !== undefined && gate.waiting.length >= WAITING;
  }

  #gateOf(db: DbRef): Gate {
    const key = keyOf(db);
    const gate = this.#gates.get(key) ?? { asking: 0, waiting: [], tryAgainAt: undefined };
    this.#gates.set(key, gate);
    return gate;
  }
}

function keyOf({ provider, name, tenant }: DbRef): string {
  return JSON.stringify([provider, name, tenant]);
}
