import type { ClaimedJob } from '@stepping/tm-local';

/** What a claim asks for. */
export interface Claim {
  readonly queue: string;
  readonly limit: number;
  readonly leaseMs: number;
}

/** How a database claims and looks. Times are texts: a Date would lose their microseconds. */
export interface ClaimSource {
  /** Claims what is due from a time on, or all of the queue; `latest`: the latest `due_at` of what it claimed. */
  claim(claim: Claim, from: string | undefined): Promise<{ readonly jobs: readonly ClaimedJob[]; readonly latest: string | undefined }>;
  /** The earliest time below `before` at which something is due, in one short read on another connection. */
  peek(queue: string, before: string): Promise<string | undefined>;
}

/** Looks for rows below the bound take at most one part in so many of the time. */
const PEEK_SHARE = 20;
/** And never come more often than this. Unit: ms. */
const MIN_PEEK_INTERVAL_MS = 100;

/** Where the claims of a queue begin. */
interface Bound {
  /** The latest `due_at` claimed last. */
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
  readonly #source: ClaimSource;
  readonly #bounds = new Map<string, Bound>();

  constructor(source: ClaimSource) {
    this.#source = source;
  }

  async claimDue(claim: Claim): Promise<readonly ClaimedJob[]> {
    const bound = this.#boundOf(claim.queue);
    if (bound.from !== undefined) {
      const claiming = this.#claim(claim, bound, bound.from);
      this.#peekNowAndThen(claim.queue, bound); // behind the claim, which somebody waits for
      const claimed = await claiming;
      if (claimed.length > 0) return claimed;
    }
    return this.#claim(claim, bound, undefined);
  }

  async #claim(claim: Claim, bound: Bound, from: string | undefined): Promise<readonly ClaimedJob[]> {
    const { version } = bound;
    const { jobs, latest } = await this.#source.claim(claim, from);
    if (latest !== undefined && version === bound.version) bound.from = latest;
    return jobs;
  }

  #peekNowAndThen(queue: string, bound: Bound): void {
    const began = performance.now();
    if (began < bound.nextPeekAt || bound.from === undefined) return;
    bound.nextPeekAt = Number.POSITIVE_INFINITY;
    this.#source
      .peek(queue, bound.from)
      .then((older) => {
        if (older === undefined) return;
        bound.from = older;
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
