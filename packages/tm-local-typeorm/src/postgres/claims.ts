import type { ClaimedJob } from '@stepping/tm-local';
import type { PostgresLane } from './postgres-lane.js';
import { claimedJob } from './postgres-rows.js';
import type { PostgresStatements } from './postgres-statements.js';

/** Looks for rows below the bound take at most one part in so many of the time. */
const PEEK_SHARE = 20;
/** And never come more often than this. Unit: ms. */
const MIN_PEEK_INTERVAL_MS = 100;

/** Where the claims of a queue begin. */
interface Bound {
  /** The latest `due_at` claimed last, as text: a Date would lose its microseconds. */
  from: string | undefined;
  /** Counts how often a peek took it back; a claim sent before that must not move it on. */
  version: number;
  /** On the monotonic clock. Unit: ms. */
  nextPeekAt: number;
}

/**
 * Claims of due rows. While an old transaction is open anywhere in the database, every claim leaves dead entries at the head of the index that all later ones would walk over,
 * longer and longer. So a claim begins where the last one ended. What lies below that (late commits, claims that were rolled back elsewhere) is found by a peek now and then, on
 * another connection; and before a claim comes back empty, it has looked at all of the queue.
 */
export class Claims {
  readonly #lane: PostgresLane;
  readonly #peekLane: PostgresLane;
  readonly #sql: PostgresStatements;
  readonly #bounds = new Map<string, Bound>();

  constructor(deps: { lane: PostgresLane; peekLane: PostgresLane; sql: PostgresStatements }) {
    this.#lane = deps.lane;
    this.#peekLane = deps.peekLane;
    this.#sql = deps.sql;
  }

  async claimDue({ queue, limit, leaseMs }: { queue: string; limit: number; leaseMs: number }): Promise<readonly ClaimedJob[]> {
    const bound = this.#boundOf(queue);
    const values = [queue, limit, Math.round(leaseMs)];
    if (bound.from !== undefined) {
      this.#peekNowAndThen(queue, bound);
      const claimed = await this.#claim(bound, this.#sql.claimJobsFrom, [...values, bound.from]);
      if (claimed.length > 0) return claimed;
    }
    return this.#claim(bound, this.#sql.claimJobs, values);
  }

  async #claim(bound: Bound, statement: PostgresStatements['claimJobs'], values: readonly unknown[]): Promise<readonly ClaimedJob[]> {
    const { version } = bound;
    const rows = await this.#lane.query(statement, values);
    const latest = rows[0]?.at(-1);
    if (latest && version === bound.version) bound.from = latest;
    return rows.map(claimedJob);
  }

  #peekNowAndThen(queue: string, bound: Bound): void {
    const began = performance.now();
    if (began < bound.nextPeekAt || bound.from === undefined) return;
    bound.nextPeekAt = Number.POSITIVE_INFINITY;
    this.#peekLane
      .query(this.#sql.peekDue, [queue, bound.from])
      .then(([older]) => {
        if (older === undefined) return;
        bound.from = older[0] ?? undefined;
        bound.version++;
      })
      .catch(() => {}) // the next one, or an empty claim, will find it
      .finally(() => {
        const now = performance.now();
        bound.nextPeekAt = now + Math.max(MIN_PEEK_INTERVAL_MS, (now - began) * PEEK_SHARE);
      });
  }

  #boundOf(queue: string): Bound {
    const known = this.#bounds.get(queue);
    if (known !== undefined) return known;
    const bound: Bound = { from: undefined, version: 0, nextPeekAt: performance.now() + MIN_PEEK_INTERVAL_MS };
    this.#bounds.set(queue, bound);
    return bound;
  }
}
