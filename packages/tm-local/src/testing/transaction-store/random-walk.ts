import assert from 'node:assert/strict';
import type { AsyncCommand } from 'fast-check';
import { MemoryDatabase } from '../../memory-database.js';
import type { ClaimedJob, CreateAnswer, TransactionStore } from '../../transaction-store.js';
import type { TransactionStoreHarness } from '../describe-transaction-store.js';
import { memoryHarness } from '../memory-harness.js';
import { virtualClock } from '../virtual-clock.js';
import { type Bench, describe, it, TEST_TIMEOUT_MS } from './bench.js';
import {
  claimAll,
  comparableRow,
  fastCheck,
  type HandedOut,
  type RandomCall,
  randomCalls,
  randomRuns,
  theChange,
  theJob,
  theLease,
  theSave,
} from './random-calls.js';
import { HOUR_MS, unique } from './rows.js';

const GIDS = 5;
const WALKS = 10;
const MAX_CALLS = 80;

/** The store in memory, of which is known what each call means. */
interface Model extends TransactionStoreHarness {
  readonly database: MemoryDatabase;
  readonly gids: readonly string[];
  readonly handedOut: HandedOut[];
}

/** What only one caller at a time can do, so that both stores know what comes of it. */
type WalkCall = RandomCall | { readonly verb: 'age'; readonly gid: number } | { readonly verb: 'purge' | 'stats' | 'list' };

/** Calls at random, made of the store under test and of the store in memory, whose answers and rows must be the same. */
export function describeRandomWalk(bench: Bench): void {
  describe('calls at random', () => {
    it('are answered, one after another, as the store in memory answers them', async () => {
      const fc = await fastCheck();
      const { create, claimDue, save, change, ...others } = randomCalls(fc, GIDS);
      const calls = [
        ...[create, create, claimDue, claimDue, claimDue, save, save, save, change, ...Object.values(others)],
        fc.record({ verb: fc.constant('age' as const), gid: fc.nat(GIDS - 1) }),
        fc.record({ verb: fc.constantFrom('purge' as const, 'stats' as const, 'list' as const) }),
      ];
      const commands = calls.map((call) =>
        fc
          .tuple<[WalkCall, boolean]>(call, fc.boolean())
          .map(([call, second]): AsyncCommand<Model, Bench> => new WalkCommand(call, second)),
      );
      await fc.assert(
        fc.asyncProperty(fc.commands(commands, { maxCommands: MAX_CALLS, size: 'max' }), async (walk) => {
          await bench.clear();
          await fc.asyncModelRun(() => ({ model: aModel(), real: bench }), walk);
        }),
        randomRuns(WALKS, TEST_TIMEOUT_MS * 0.6),
      );
    });
  });
}

function aModel(): Model {
  // Time stands still in the model. The real one goes by seconds, and all that a walk does is by the hour.
  const database = new MemoryDatabase('model');
  database.clock = virtualClock();
  const gids = Array.from({ length: GIDS }, () => unique('walk')).sort();
  return { ...memoryHarness(database), database, gids, handedOut: [] };
}

class WalkCommand implements AsyncCommand<Model, Bench> {
  readonly #call: WalkCall;
  readonly #second: boolean;
  #made = '';

  constructor(call: WalkCall, second: boolean) {
    this.#call = call;
    this.#second = second;
  }

  check(): boolean {
    return true;
  }

  async run(model: Model, bench: Bench): Promise<void> {
    if (this.#call.verb === 'age') {
      const gid = model.gids[this.#call.gid] as string;
      this.#made = `two hours pass for ${gid}`;
      await Promise.all([model.age(gid, 2 * HOUR_MS), bench.age(gid, 2 * HOUR_MS)]);
    } else {
      const make = this.#concrete(model);
      if (!make) return;
      const expected = comparable(await make(model.store));
      remember(model, expected);
      assert.deepEqual(comparable(await make(this.#second ? bench.second : bench.store)), expected);
    }
    for (const gid of model.gids) {
      const expected = comparableRow(await model.store.find(gid), model.database.clock.now());
      assert.deepEqual(comparableRow(await bench.store.find(gid), Date.now()), expected);
    }
  }

  toString(): string {
    return this.#made;
  }

  /** The call with what it comes to; undefined where it comes to nothing. */
  #concrete(model: Model): ((store: TransactionStore) => Promise<unknown>) | undefined {
    const { gids, handedOut } = model;
    const call = this.#call;
    const made = <A>(args: A, make: (store: TransactionStore, args: A) => Promise<unknown>) => {
      this.#made = `${call.verb} ${JSON.stringify(args)}`;
      return (store: TransactionStore) => make(store, args);
    };
    switch (call.verb) {
      case 'create':
        return made(
          call.jobs.map((job) => theJob(gids, job)),
          async (store, jobs) => (await store.create(jobs)).map((answer, i) => heldBy(jobs[i], answer)),
        );
      case 'claimDue':
        return made(call.queue, claimAll);
      case 'save':
        return made(
          call.saves.flatMap((save) => theSave(gids, handedOut, save) ?? []),
          (store, saves) => store.save(saves),
        );
      case 'change':
        return made(
          call.changes.map((change) => theChange(gids, change)),
          (store, changes) => store.change(changes),
        );
      case 'extend':
        return made(
          call.leases.flatMap((of) => theLease(gids, handedOut, of) ?? []),
          (store, leases) => store.extend(leases, HOUR_MS),
        );
      case 'resolve': {
        const gid = gids[call.gid] as string;
        // Only of a row that is there: the other answer draws a lease at random.
        if (!model.database.jobs.read(gid)) return undefined;
        return made(`${gid}/${call.instance}`, (store, instance) => store.resolve(gid, instance));
      }
      case 'purge':
        return made({ finishedMsAgo: HOUR_MS, failedMsAgo: 3 * HOUR_MS, limit: 100 }, async (store, purge) => {
          const purging = [...(await store.startPurge(purge))].sort((a, b) => (a.gid < b.gid ? -1 : 1));
          return [purging, await store.finishPurge(purging.slice(1))];
        });
      case 'stats':
        return made([], async (store) => ({ ...(await store.stats()), oldestDueMs: undefined, oldestPreparedMs: undefined }));
      case 'list':
        return made({ limit: 3, status: ['submitted', 'failed'] as const }, async (store, filter) =>
          (await store.list(filter)).map(({ gid }) => gid),
        );
      default:
        return undefined;
    }
  }
}

/** A held job is its creator's, by the lease in the answer. */
function heldBy(job: { gid: string; held: boolean; status: 'prepared' | 'submitted' } | undefined, answer: CreateAnswer): unknown {
  return answer.outcome === 'stored' && job?.held ? { ...answer, gid: job.gid, status: job.status } : answer;
}

function remember({ handedOut }: Model, answer: unknown): void {
  for (const { gid, lease, status } of Array.isArray(answer) ? (answer as Partial<ClaimedJob>[]) : []) {
    if (gid !== undefined && lease !== undefined && (status === 'prepared' || status === 'submitted'))
      handedOut.push({ gid, lease, status });
  }
}

function comparable(answer: unknown): unknown {
  return answer instanceof Set ? [...answer].sort() : answer;
}
