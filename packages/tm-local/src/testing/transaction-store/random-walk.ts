import assert from 'node:assert/strict';
import { MemoryDatabase } from '../../memory-database.js';
import type { Change, CreateJob, Lease, Save, StoredJob, StoredStatus, TransactionStore } from '../../transaction-store.js';
import { memoryHarness } from '../memory-harness.js';
import { virtualClock } from '../virtual-clock.js';
import { type Bench, describe, it } from './bench.js';
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
  unique,
  verdict,
} from './rows.js';

const WALKS = 4;
const CALLS = 150;

/** Calls at random, made of the store under test and of the store in memory, whose answers and rows must be the same. */
export function describeRandomWalk(bench: Bench): void {
  describe('calls at random', () => {
    for (let walk = 1; walk <= WALKS; walk++) {
      it(`are answered as the store in memory answers them, walk ${walk}`, async () => {
        const seed = Number(process.env.STEPPING_TEST_SEED) || Math.floor(Math.random() * 2 ** 31);
        const trace: string[] = [];
        try {
          await takeWalk(bench, randomOf(seed), trace);
        } catch (error) {
          throw new Error(`Random walk with STEPPING_TEST_SEED=${seed}. The last calls were:\n${trace.slice(-12).join('\n')}`, {
            cause: error,
          });
        }
      });
    }
  });
}

async function takeWalk(bench: Bench, random: Random, trace: string[]): Promise<void> {
  // Time stands still in the model. The real one goes by seconds, and all that a walk does is by the hour.
  const database = new MemoryDatabase('model');
  database.clock = virtualClock();
  const model = memoryHarness(database);
  const gids = Array.from({ length: 5 }, () => unique('walk')).sort();
  const leases: Lease[] = [];

  for (let call = 0; call < CALLS; call++) {
    const [name, args, run] = await aCall(model.store, random, gids, leases);
    trace.push(`${name} ${JSON.stringify(args)}`);
    if (name === 'age') {
      const [gid, ms] = args as [string, number];
      await Promise.all([model.age(gid, ms), bench.age(gid, ms)]);
    } else {
      const expected = comparable(await run(model.store));
      assert.deepEqual(comparable(await run(random.pick([bench.store, bench.second]))), expected);
    }
    for (const gid of gids) {
      const [now, expected] = [Date.now(), database.clock.now()];
      assert.deepEqual(comparableRow(await bench.store.find(gid), now), comparableRow(await model.store.find(gid), expected));
    }
  }
}

type Call = readonly [name: string, args: readonly unknown[], run: (store: TransactionStore) => Promise<unknown>];

/** A call that a correct caller could make; `leases` collects what was handed out, and is drawn from long after it was lost. */
async function aCall(model: TransactionStore, random: Random, gids: readonly string[], leases: Lease[]): Promise<Call> {
  const remember = (found: readonly Lease[]) => {
    for (const { gid, lease } of found) leases.push({ gid, lease });
  };
  const someGids = () => gids.filter(() => random.below(3) === 0);
  const instanceOf = (gid: string) => `${gid}/${random.below(3)}`;

  switch (random.below(9)) {
    case 0:
    case 1: {
      const jobs = someGids().map((gid) => aNewJob(random, gid, instanceOf(gid)));
      // A held job is its creator's, by the lease in the answer; both stores must give the same.
      const run = async (store: TransactionStore) => {
        const answers = await store.create(jobs);
        for (const [i, job] of jobs.entries()) {
          const answer = answers[i];
          if (answer?.outcome === 'stored' && job.held) remember([{ gid: job.gid, lease: answer.lease }]);
        }
        return answers;
      };
      return ['create', jobs, run];
    }
    case 2:
    case 3: {
      const queue = random.pick(['default', 'default', 'other', '~db/memory/orders']);
      const run = async (store: TransactionStore) => {
        const claimed = await claimedUntilEmpty(store, queue);
        remember(claimed);
        return byGid(claimed.map(({ ageMs: _, ...job }) => job));
      };
      return ['claimDue', [queue], run];
    }
    case 4:
    case 5: {
      const saves: Save[] = [];
      for (const gid of someGids()) {
        const lease = random.pick(leases.filter((handedOut) => handedOut.gid === gid));
        if (lease) saves.push(aSave(random, lease, (await model.find(gid))?.status));
      }
      return ['save', saves, (store) => store.save(saves)];
    }
    case 6: {
      const changes = someGids().map((gid) => aChange(random, gid, instanceOf(gid)));
      return ['change', changes, (store) => store.change(changes)];
    }
    case 7: {
      const gid = random.pick(gids) as string;
      if (random.below(3) > 0) return ['age', [gid, 2 * HOUR_MS], async () => undefined];
      // Only of a row that is there: the other answer draws a lease at random.
      if (!(await model.find(gid))) return ['nothing', [], async () => undefined];
      const instance = instanceOf(gid);
      return ['resolve', [gid, instance], (store) => store.resolve(gid, instance)];
    }
    default: {
      const some = someGids().flatMap((gid) => random.pick(leases.filter((handedOut) => handedOut.gid === gid)) ?? []);
      const purge = { finishedMsAgo: HOUR_MS, failedMsAgo: 3 * HOUR_MS, limit: 100 };
      return random.pick<Call>([
        ['extend', some, (store) => store.extend(some, HOUR_MS)],
        [
          'startPurge, finishPurge',
          [purge],
          async (store) => {
            const purging = byGid(await store.startPurge(purge));
            return [purging, await store.finishPurge(purging.slice(1))];
          },
        ],
        ['stats', [], async (store) => ({ ...(await store.stats()), oldestDueMs: undefined, oldestPreparedMs: undefined })],
        ['list', [], async (store) => (await store.list({ limit: 3, status: ['submitted', 'failed'] })).map(({ gid }) => gid)],
      ]);
    }
  }
}

function aNewJob(random: Random, gid: string, instance: string): CreateJob {
  const held = random.below(3) === 0;
  const over = {
    gid,
    instance,
    held,
    dueInMs: held || random.below(2) ? HOUR_MS : 0,
    lease: 1 + random.below(2 ** 30),
    tenant: random.pick([undefined, 'acme']),
  };
  return random.below(2) ? aPreparedJob(over) : aJob(over);
}

function aSave(random: Random, lease: Lease, status: StoredStatus | undefined): Save {
  if (status === 'prepared') {
    const verdicts: [Save, Save, Save] = [
      verdict(lease, 'submitted', true),
      verdict(lease, 'submitted', false),
      verdict(lease, 'rolled-back', true),
    ];
    return random.pick([...verdicts, { ...verdict(lease, 'submitted', true), status: 'prepared', dueInMs: HOUR_MS, queue: undefined }]);
  }
  const step = random.below(4);
  const attempt = 1 + random.below(4);
  return random.pick<Save>([
    checkpoint(lease, step),
    countAttempt(lease, attempt, step),
    { ...retry(lease, attempt, step), dueInMs: HOUR_MS },
    handBack(lease, attempt, step),
    moveToQueue(lease, 'other'),
    finish(lease),
    fail(lease, step),
  ]);
}

function aChange(random: Random, gid: string, instance: string): Change {
  const held = random.below(2) === 0;
  const common = { gid, queue: undefined, dueInMs: held ? HOUR_MS : 0, held, error: undefined };
  return random.pick<Change>([
    { ...common, instance, from: ['prepared'], to: 'submitted', queue: 'default' },
    { ...common, instance, from: ['prepared'], to: 'rolled-back' },
    { ...common, instance: undefined, from: ['submitted', 'failed'], to: 'cancelled', error: { name: 'Cancelled', message: 'by hand' } },
    { ...common, instance: undefined, from: ['failed'], to: 'submitted' },
  ]);
}

function byGid<L extends { readonly gid: string }>(rows: readonly L[]): L[] {
  return [...rows].sort((a, b) => (a.gid < b.gid ? -1 : 1));
}

function comparable(answer: unknown): unknown {
  return answer instanceof Set ? [...answer].sort() : answer;
}

/** Dates as what they mean: the two clocks differ. */
function comparableRow(row: StoredJob | undefined, now: number): unknown {
  if (!row) return undefined;
  const { createdAt: _, dueAt, finishedAt, ...rest } = row;
  // Rows are due now or in an hour, and a walk is over long before half of one.
  const due = dueAt && (dueAt.getTime() <= now + HOUR_MS / 2 ? 'due' : 'later');
  return { ...rest, due, finished: finishedAt !== undefined };
}

interface Random {
  below(limit: number): number;
  pick<T>(of: readonly [T, ...T[]]): T;
  pick<T>(of: readonly T[]): T | undefined;
}

/** Numbers that a seed determines (mulberry32, public domain). */
function randomOf(seed: number): Random {
  let state = seed >>> 0;
  const below = (limit: number) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return Math.floor((((t ^ (t >>> 14)) >>> 0) / 2 ** 32) * limit);
  };
  return { below, pick: <T>(of: readonly T[]) => of[below(of.length)] as T };
}
