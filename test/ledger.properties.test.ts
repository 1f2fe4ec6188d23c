import { it } from '@jest/globals';
import type { DbRef, LedgerEnd, StepLedger } from '@stepping/core';
import fc from 'fast-check';
import { ledgerIn } from '../packages/db-mongoose/src/ledger-collection.js';
import { MongooseDbProvider } from '../packages/db-mongoose/src/mongoose-db-provider.js';
import { closeConnections, connected, mongodb } from '../packages/db-mongoose/test/support/database.js';
import { TypeormDbProvider } from '../packages/db-typeorm/src/typeorm-db-provider.js';
import { mysqls, postgres, sqlite } from '../packages/db-typeorm/test/support/databases.js';
import { ProcessLedger } from '../packages/tm-dtm/src/process-ledger.js';
import { property } from './properties.js';

// Ledgers of databases beside the one that is a few lines of TypeScript: whatever is asked of both, they say the same, but for times.

interface LedgerUnderTest {
  readonly ledger: StepLedger;
  readonly ref: DbRef;
  /** Makes all rows of the gid older. */
  age(gid: string, ms: number): Promise<unknown>;
  close(): Promise<void>;
}

const HISTORIES = 12;
const TIMEOUT_MS = 60_000;
const LEASE_MS = 1_000_000;
const DELAY_MS = 3_000_000;

const FAILED = { name: 'Error', message: 'not yet' };
const ENDS: readonly LedgerEnd[] = [
  { end: 'done' },
  { end: 'retry', delayMs: 0, intervalMs: undefined, error: FAILED },
  { end: 'retry', delayMs: 0, intervalMs: 20_000, error: { name: 'TypeError', message: 'again' } },
  { end: 'retry', delayMs: DELAY_MS, intervalMs: 40_000, error: FAILED },
  { end: 'dead', error: { name: 'STEP_PERMANENT', message: 'never' } },
  { end: 'hand-back' },
];

const token = fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f');
const position = fc.constantFrom(0, 0, 0, 11);
const call = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('begin' as const),
      position,
      token,
      generation: fc.constantFrom(0, 0, 0, 1, 1, 2),
      maxAttempts: fc.constantFrom(undefined, undefined, 1, 2, 3),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({ do: fc.constant('end' as const), position, token, end: fc.constantFrom(...ENDS, ...ENDS.slice(1, 3)) }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('extend' as const), position, token }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('age' as const), ms: fc.constantFrom(LEASE_MS + 1_000, DELAY_MS + 1_000) }) },
);

type Call = typeof call extends fc.Arbitrary<infer C> ? C : never;

for (const database of [sqlite, postgres, ...mysqls]) {
  database.describe(`The ledger on ${database.name}`, () => {
    testLedger(async () => {
      const dataSource = await database.open({ entities: [], synchronize: false });
      const provider = new TypeormDbProvider({ dataSource });
      await provider.start();
      const back =
        { SQLite: 'due_at - ?', PostgreSQL: "due_at - $1 * interval '1 ms'" }[database.name] ?? 'due_at - interval ? * 1000 microsecond';
      const where = database === postgres ? 'gid = $2' : 'gid = ?';
      return {
        ledger: provider.ledger,
        ref: provider.refOf(undefined),
        age: (gid, ms) => dataSource.query(`update stepping_ledger set due_at = ${back} where ${where}`, [ms, gid]),
        async close() {
          await provider.close();
          await dataSource.destroy();
        },
      };
    });
  });
}

mongodb.describe('The ledger on MongoDB', () => {
  testLedger(async () => {
    const connection = await connected();
    const provider = new MongooseDbProvider({ connection });
    await provider.start();
    return {
      ledger: provider.ledger,
      ref: provider.refOf(undefined),
      age: (gid, ms) =>
        ledgerIn(connection).updateMany({ _id: { $gte: gid, $lt: `${gid}~` } }, [{ $set: { due_at: { $subtract: ['$due_at', ms] } } }]),
      async close() {
        provider.close();
        await closeConnections();
      },
    };
  });
});

function testLedger(open: () => Promise<LedgerUnderTest>): void {
  it(
    'says what the one in a process says, whatever it is asked',
    async () => {
      const tested = await open();
      let histories = 0;
      const play = fc.asyncProperty(fc.array(call, { minLength: 5, maxLength: 25 }), (calls) =>
        played(calls, `history-${++histories}-`, tested),
      );
      await fc.assert(play, property(HISTORIES)).finally(() => tested.close());
    },
    TIMEOUT_MS,
  );
}

async function played(calls: readonly Call[], gid: string, { ledger, ref, age }: LedgerUnderTest): Promise<void> {
  const start = { gid, instance: 'an-instance' };
  const model = new AgingLedger();
  for (const [i, one] of calls.entries()) {
    if (one.do === 'age') {
      model.age(one.ms);
      await age(gid, one.ms);
      continue;
    }
    const key = { ...start, position: one.position, token: one.token };
    const ask = (of: StepLedger): Promise<unknown> => {
      if (one.do === 'extend') return of.extend(key, LEASE_MS, ref);
      if (one.do === 'end') return of.end(key, one.end, ref);
      return of.begin({ ...key, generation: one.generation, maxAttempts: one.maxAttempts, leaseMs: LEASE_MS }, ref);
    };
    same(await ask(ledger), await model.ask(ask), `the answer to call ${i}`);
  }
  const known = (of: StepLedger) => of.read(gid, start.instance, ref);
  same(await known(ledger), await model.ask(known), 'what is known at the end');
}

/** The ledger of a process, whose clock can be set forward. */
class AgingLedger {
  readonly #ledger = new ProcessLedger();
  #passedMs = 0;

  age(ms: number): void {
    this.#passedMs += ms;
  }

  /** It looks at the clock before its first await. */
  ask<R>(question: (ledger: StepLedger) => Promise<R>): Promise<R> {
    const { now } = performance;
    performance.now = () => now.call(performance) + this.#passedMs;
    try {
      return question(this.#ledger);
    } finally {
      performance.now = now;
    }
  }
}

function same(said: unknown, expected: unknown, what: string): void {
  const [one, other] = [said, expected].map((value) => JSON.stringify(value, withoutTimes));
  if (one !== other) throw new Error(`${what}: ${one} instead of ${other}`);
}

/** And without texts of ours. */
function withoutTimes(name: string, value: unknown): unknown {
  if (name === 'inMs') return (value as number) > 0;
  if (name === 'dueAt') return value !== undefined;
  return name === 'message' && /worker lost/i.test(String(value)) ? 'worker lost' : value;
}
