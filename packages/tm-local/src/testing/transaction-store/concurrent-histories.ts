import assert from 'node:assert/strict';
import { isDeepStrictEqual } from 'node:util';
import { type JobRow, MemoryDatabase } from '../../memory-database.js';
import { MemoryTransactionStore } from '../../memory-store.js';
import { type TransactionStore, WriteRefused } from '../../transaction-store.js';
import { virtualClock } from '../virtual-clock.js';
import { type Bench, describe, it, TEST_TIMEOUT_MS } from './bench.js';
import {
  comparableRow,
  fastCheck,
  type HandedOut,
  type RandomCall,
  randomCalls,
  randomJob,
  randomRuns,
  theChange,
  theJob,
  theLease,
  theSave,
} from './random-calls.js';
import { claim, HOUR_MS, unique } from './rows.js';

const GIDS = 3;
const HISTORIES = 40;
const CALLS = 12;

/** What a call did to one row, and between which two moments. */
interface Seen {
  readonly begun: number;
  readonly ended: number;
  readonly what: string;
  readonly answer: unknown;
  /** The same call, of that row alone. */
  make(store: TransactionStore): Promise<unknown>;
}

/**
 * Two clients that call at the same time. The answers that they get, and the rows that they leave, must be those of some order in which the calls came one after another: so no
 * lease is given to two, none goes back, nothing that ended runs again.
 */
export function describeConcurrentHistories(bench: Bench): void {
  describe('calls at random of two clients at once', () => {
    it('are answered as if they had come one after another', async () => {
      const fc = await fastCheck();
      const { create, claimDue, save, change, ...others } = randomCalls(fc, GIDS);
      const call = fc.oneof(create, claimDue, claimDue, claimDue, save, save, save, save, change, change, ...Object.values(others));
      const calls = fc.array(call, { maxLength: CALLS, size: 'max' });
      const jobs = fc.tuple(...Array.from({ length: GIDS }, (_, i) => randomJob(fc, fc.constant(i))));
      await fc.assert(
        fc.asyncProperty(jobs, calls, calls, async (jobs, ...clients) => {
          await bench.clear();
          const history = new History();
          const first = jobs.map((job) => theJob(history.gids, job));
          for (const [i, answer] of (await bench.store.create(first)).entries()) history.created(first[i] as (typeof first)[0], answer);
          const begun = await history.rows();
          await Promise.all([bench.store, bench.second].map((store, i) => history.play(i, store, clients[i] as readonly RandomCall[])));
          for (const gid of history.gids) await history.assertSomeOrder(gid, begun.get(gid) as JobRow, bench);
        }),
        randomRuns(HISTORIES, TEST_TIMEOUT_MS * 0.6),
      );
    });
  });
}

class History {
  readonly gids: readonly string[] = Array.from({ length: GIDS }, () => unique('history')).sort();
  readonly #handedOut: HandedOut[] = [];
  readonly #seen = [0, 1].map(() => new Map<string, Seen[]>(this.gids.map((gid) => [gid, []])));
  readonly #first = new MemoryDatabase('model');
  #moment = 0;

  created(job: ReturnType<typeof theJob>, answer: unknown): void {
    assert.deepEqual(answer, { outcome: 'stored', lease: job.lease });
    this.#first.clock = virtualClock();
    void new MemoryTransactionStore(this.#first).create([job]);
    if (job.held) this.#handedOut.push(job);
  }

  async rows(): Promise<ReadonlyMap<string, JobRow>> {
    return new Map(this.#first.jobs.entries());
  }

  async play(client: number, store: TransactionStore, calls: readonly RandomCall[]): Promise<void> {
    for (const call of calls) {
      const begun = this.#moment++;
      try {
        const seen = await this.#call(store, call);
        const ended = this.#moment++;
        for (const [gid, ofRow] of seen) this.#seen[client]?.get(gid)?.push({ begun, ended, ...ofRow });
      } catch (error) {
        // Two batches may meet in a deadlock; nothing of the refused one is written.
        if (!(error instanceof WriteRefused)) throw error;
      }
    }
  }

  /** Makes the call; answers what it did to each row. */
  async #call(store: TransactionStore, call: RandomCall): Promise<(readonly [gid: string, Omit<Seen, 'begun' | 'ended'>])[]> {
    const { gids } = this;
    switch (call.verb) {
      case 'create': {
        const jobs = call.jobs.map((job) => theJob(gids, job));
        const answers = await store.create(jobs);
        return jobs.flatMap((job, i) => {
          const answer = answers[i];
          if (answer?.outcome === 'locked') return []; // nothing was written for it
          if (answer?.outcome === 'stored' && job.held) this.#handedOut.push({ ...job, lease: answer.lease });
          return [[job.gid, { what: `create ${show(job)}`, answer, make: async (store) => (await store.create([job]))[0] }] as const];
        });
      }
      case 'claimDue': {
        const claimed = await claim(store, { queue: call.queue, leaseMs: HOUR_MS });
        this.#handedOut.push(...claimed);
        return claimed.map(({ ageMs: _, ...answer }) => {
          const make = async (store: TransactionStore) => {
            const [job] = await claim(store, { queue: call.queue, leaseMs: HOUR_MS });
            if (!job) return undefined;
            const { ageMs: _, ...rest } = job;
            return rest;
          };
          return [answer.gid, { what: `claimDue ${call.queue}`, answer, make }] as const;
        });
      }
      case 'save': {
        const saves = call.saves.flatMap((save) => theSave(gids, this.#handedOut, save) ?? []);
        const matched = await store.save(saves);
        return saves.map((save) => {
          const make = async (store: TransactionStore) => (await store.save([save])).has(save.gid);
          return [save.gid, { what: `save ${show(save)}`, answer: matched.has(save.gid), make }] as const;
        });
      }
      case 'change': {
        const changes = call.changes.map((change) => theChange(gids, change));
        const answers = await store.change(changes);
        return changes.map((change, i) => {
          const answer = answers[i];
          if (answer?.changed && change.to === 'submitted' && change.held) {
            this.#handedOut.push({ gid: change.gid, lease: answer.lease, status: 'submitted' });
          }
          return [
            change.gid,
            { what: `change ${show(change)}`, answer, make: async (store) => (await store.change([change]))[0] },
          ] as const;
        });
      }
      case 'extend': {
        const leases = call.leases.flatMap((of) => theLease(gids, this.#handedOut, of) ?? []);
        const kept = await store.extend(leases, HOUR_MS);
        return leases.map((lease) => {
          const make = async (store: TransactionStore) => (await store.extend([lease], HOUR_MS)).has(lease.gid);
          return [lease.gid, { what: `extend ${show(lease)}`, answer: kept.has(lease.gid), make }] as const;
        });
      }
      case 'resolve': {
        const gid = gids[call.gid] as string;
        const instance = `${gid}/${call.instance}`;
        const make = (store: TransactionStore) => store.resolve(gid, instance);
        return [[gid, { what: `resolve ${instance}`, answer: await make(store), make }]];
      }
      case 'find': {
        const gid = gids[call.gid] as string;
        const answer = comparableRow(await store.find(gid), Date.now());
        const make = async (store: TransactionStore) => comparableRow(await store.find(gid), this.#first.clock.now());
        return [[gid, { what: 'find', answer, make }]];
      }
    }
  }

  /** Looks for an order of what was done to a row, in which each call that ended before another one began comes before it, and all answers are those of the store in memory. */
  async assertSomeOrder(gid: string, begun: JobRow, bench: Bench): Promise<void> {
    const [a, b] = this.#seen.map((ofClient) => ofClient.get(gid) ?? []) as [Seen[], Seen[]];
    const left = comparableRow(await bench.store.find(gid), Date.now());
    // States that the row may be in when so many calls of each client are done.
    let found = false;
    let states = new Map<string, { i: number; j: number; row: JobRow }>([['start', { i: 0, j: 0, row: begun }]]);
    for (let done = 0; done <= a.length + b.length && !found; done++) {
      const next: typeof states = new Map();
      for (const { i, j, row } of states.values()) {
        const [ofA, ofB] = [a[i], b[j]];
        if (!ofA && !ofB) found ||= isDeepStrictEqual(comparableRow(await storeOf(row).store.find(gid), this.#first.clock.now()), left);
        for (const [call, other, to] of [
          [ofA, ofB, { i: i + 1, j }],
          [ofB, ofA, { i, j: j + 1 }],
        ] as const) {
          if (!call || (other && other.ended < call.begun)) continue;
          const { store, database } = storeOf(row);
          if (!isDeepStrictEqual(await call.make(store), call.answer)) continue;
          const after = database.jobs.read(gid) as JobRow;
          next.set(JSON.stringify([to, after]), { ...to, row: after });
        }
      }
      states = next;
    }
    const told = [a, b].map((seen, client) =>
      seen.map(({ begun, ended, what, answer }) => `  ${begun}–${ended} client ${client}: ${what} → ${show(answer)}`),
    );
    assert.ok(
      found,
      `No order of these calls explains their answers, and the row that they left.\nfirst ${show(begun)}\n${told.flat().join('\n')}\nleft ${show(left)}`,
    );
  }
}

/** A store in memory with this one row, in which time stands still. */
function storeOf(row: JobRow): { store: TransactionStore; database: MemoryDatabase } {
  const database = new MemoryDatabase('model');
  database.clock = virtualClock();
  database.jobs.write(row.gid, row);
  return { store: new MemoryTransactionStore(database), database };
}

function show(value: unknown): string {
  return JSON.stringify(value) ?? 'nothing';
}
