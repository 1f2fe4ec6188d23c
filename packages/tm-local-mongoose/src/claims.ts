import type { ClaimedJob } from '@stepping/tm-local';
import type { mongo } from 'mongoose';
import { isRefusal } from './driver-error.js';
import { type ClaimedDocument, claimedJob, DUE_INDEX, type JobCollection, type JobDocument } from './job-document.js';
import { FROM_MAJORITY } from './own-client.js';
import type { ServerClock } from './server-clock.js';
import { writeToken } from './write-token.js';

/** A claimer that loses to others looks at up to so many times more jobs than it takes. */
const MAX_WINDOW = 8;
/** Less than this part of what was tried was won: others are at the same head of the queue. */
const CONTENDED_BELOW = 0.8;
/** A claim that lost everything looks again, so many times: somebody else won each time. */
const MAX_ROUNDS = 20;

interface Head {
  readonly _id: string;
  readonly due_at: Date;
  readonly now: Date;
}

/**
 * Claims of due jobs in three trips, however many: their gids by the index, one guarded update that leaves a token, and a read by that token. Several claimers see the same head of the queue; so
 * one that loses takes its share at random out of a window that grows, and shrinks again when it wins.
 */
export class Claims {
  readonly #jobs: JobCollection;
  readonly #clock: ServerClock;
  #window = 1;

  constructor(deps: { jobs: JobCollection; clock: ServerClock }) {
    this.#jobs = deps.jobs;
    this.#clock = deps.clock;
  }

  async claimDue({ queue, limit, leaseMs }: { queue: string; limit: number; leaseMs: number }): Promise<readonly ClaimedJob[]> {
    for (let round = 0; round < MAX_ROUNDS; round++) {
      const due = await this.#look(queue, limit * this.#window);
      if (due.length === 0) return [];
      const claimed = await this.#take(queue, someOf(due, limit), leaseMs);
      if (claimed.length > 0) return claimed;
    }
    return [];
  }

  async #look(queue: string, limit: number): Promise<readonly Head[]> {
    // The date is a literal: it bounds the index. What is due, the server's time says.
    const heads = await this.#jobs
      .aggregate<Head>(dueHeads(queue, this.#clock.soon(), limit), { hint: DUE_INDEX, batchSize: limit + 1 })
      .toArray();
    const now = heads[0]?.now;
    if (now === undefined) return [];
    this.#clock.heard(now);
    return heads.filter(({ due_at }) => due_at <= now);
  }

  async #take(queue: string, heads: readonly Head[], leaseMs: number): Promise<readonly ClaimedJob[]> {
    const gids = heads.map(({ _id }) => _id);
    const latest = new Date(Math.max(...heads.map(({ due_at }) => due_at.getTime())));
    const token = writeToken();
    // A literal that the server itself called due: it keeps out what somebody has claimed since, and what has finished. (`$expr` with `$$NOW` would be true of jobs without a `due_at`.)
    const filter: mongo.Filter<JobDocument> = { _id: { $in: gids }, queue, due_at: { $lte: latest } };
    const won = await this.#jobs.updateMany(filter, [claimed(leaseMs, token)]).then(
      ({ matchedCount }) => matchedCount,
      (error: unknown) => {
        if (isRefusal(error)) throw error;
        return undefined; // never sent again: the token tells what it has done, and what lands later waits for its lease
      },
    );
    if (won !== undefined)
      this.#window = won < gids.length * CONTENDED_BELOW ? Math.min(MAX_WINDOW, this.#window * 2) : Math.max(1, this.#window / 2);
    if (won === 0) return [];
    // Of a majority: a claim that was not acknowledged may be undone by a fail-over, and whoever claims the job then would be given the very same lease.
    const jobs = await this.#jobs
      .aggregate<ClaimedDocument & { now: Date }>([{ $match: { _id: { $in: gids }, 'claimed.by': token } }, { $set: { now: '$$NOW' } }], {
        ...FROM_MAJORITY,
        batchSize: gids.length + 1,
      })
      .toArray();
    return jobs.map(({ now, ...job }) => claimedJob(job, queue, now));
  }
}

/** Gids of a queue in the order of `due_at`, with the server's time. For the index that is the hint. */
export function dueHeads(queue: string, until: Date, limit: number): mongo.Document[] {
  return [
    { $match: { queue, due_at: { $lte: until } } },
    { $sort: { due_at: 1 } },
    { $limit: limit },
    { $project: { due_at: 1, now: '$$NOW' } },
  ];
}

/** The first of each queue, due or not, in one statement that reads one key a queue. */
export function nextDue(collection: string, queues: readonly [string, ...string[]]): mongo.Document[] {
  const first = (queue: string): mongo.Document[] => [
    { $match: { queue, due_at: { $exists: true } } },
    { $sort: { due_at: 1 } },
    { $limit: 1 },
    { $project: { queue: 1, due_at: 1, now: '$$NOW' } },
  ];
  const [one, ...others] = queues;
  return [...first(one), ...others.map((queue) => ({ $unionWith: { coll: collection, pipeline: first(queue) } }))];
}

/** With what the claim gave beside its token: somebody may change the job before it is read, and that lease is not ours. */
function claimed(leaseMs: number, token: string): mongo.Document {
  const lease = { $add: ['$lease', 1] };
  const wasHeld = { $ne: ['$held', 0] };
  return {
    $set: {
      due_at: { $add: ['$$NOW', Math.round(leaseMs)] },
      lease,
      held: 1,
      claimed: { by: { $literal: token }, lease, status: '$status', wasHeld },
    },
  };
}

/** The first ones, or so many at random where there are more. */
function someOf(due: readonly Head[], limit: number): readonly Head[] {
  if (due.length <= limit) return due;
  const rest = [...due];
  return Array.from({ length: limit }, () => rest.splice(Math.floor(Math.random() * rest.length), 1)[0] as Head);
}
