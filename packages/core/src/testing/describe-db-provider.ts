import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DbProvider, DbRef, DbTransaction, InDoubtAnswer } from '../db-transaction.js';
import { newGid } from '../gid.js';
import type { Resolver } from '../injection.js';
import { describeStepLedger } from './describe-step-ledger.js';

/** A database under test, with what the suite must be able to do around it. Opened once for the suite. */
export interface DbProviderHarness {
  /** Migrated. */
  readonly provider: DbProvider;
  /** What the provider's database is called. */
  readonly ref: DbRef;
  /** For `DbTransaction.ref`; knows the provider. */
  readonly resolver: Resolver;
  /** Begins a transaction as a user would, READ COMMITTED where there are levels, one that we may commit. */
  beginTransaction(): Promise<OpenedTransaction>;
  /** Takes `ms` off the dates of every barrier of the gid, and of every row of its ledger: as if it had been written so much earlier. */
  age(gid: string, ms: number): Promise<void>;
  /** What the plugin does every hour, at once. Needed where there is a ledger. */
  sweep?(): Promise<void>;
  close(): Promise<void>;
}

export interface OpenedTransaction {
  readonly transaction: DbTransaction;
  /** Rolls back whatever is still open and gives the connection back. Called once, after each test. */
  end(): Promise<void>;
}

/** How long an answer is waited for before it counts as "it waits". Unit: ms. */
const WAITS_MS = 250;
/** How long a question may wait for an open transaction: a lock wait of 1–2 s, on a slow machine. Unit: ms. */
const BOUND_MS = 8_000;
/** Between two questions. Unit: ms. */
const PAUSE_MS = 10;
const HALF_AN_HOUR_MS = 30 * 60_000;
const TEST_TIMEOUT_MS = 30_000;
const OPEN_TIMEOUT_MS = 120_000;

interface Runner {
  describe(name: string, body: () => void): void;
  it(name: string, body: () => Promise<void>, timeoutMs?: number): void;
  beforeAll(body: () => Promise<void>, timeoutMs?: number): void;
  afterAll(body: () => Promise<void>, timeoutMs?: number): void;
  afterEach(body: () => Promise<void>, timeoutMs?: number): void;
}

/**
 * What every {@link DbProvider} and its {@link DbTransaction} must do, as tests: rules R1 and R3, and what the protocol assumes of a database: an insert of a key
 * that is uncommitted elsewhere waits, is answered after the other side ends, and then reads what that side left; and its {@link StepLedger}, where it has one. Call it at the top of a test
 * file, under Jest or any runner with the globals `describe`, `it`, `beforeAll`, `afterAll` and `afterEach`. One transaction at a time is open.
 *
 * @example describeDbProvider('typeormDb on PostgreSQL', openHarness);
 */
export function describeDbProvider(name: string, open: () => Promise<DbProviderHarness>): void {
  // The runner's globals, looked up when the suite is described: this module is also loaded where there is no runner.
  const { describe, beforeAll, afterAll, afterEach, ...runner } = globalThis as unknown as Runner;
  const it = (title: string, body: () => Promise<void>) => runner.it(title, body, TEST_TIMEOUT_MS);
  let opened: DbProviderHarness | undefined;
  const harness = (): DbProviderHarness => {
    assert.ok(opened, 'The database under test did not open.');
    return opened;
  };
  const begun: OpenedTransaction[] = [];
  const begin = async (): Promise<DbTransaction> => {
    const one = await harness().beginTransaction();
    begun.push(one);
    return one.transaction;
  };
  const ask = (job: Key) => harness().provider.resolveInDoubt(job.gid, job.instance, harness().ref);
  const hasCommitted = (job: Key) => harness().provider.hasCommitted(job.gid, job.instance, harness().ref);
  const purge = (...jobs: Key[]) =>
    harness().provider.purgeBarriers(
      jobs.map(({ gid }) => gid),
      harness().ref,
    );
  const insert = (transaction: DbTransaction, job: Key) => transaction.insertBarrier(job.gid, job.instance);

  /** A transaction that has its barrier. */
  const beginWith = async (...jobs: Key[]): Promise<DbTransaction> => {
    const transaction = await begin();
    for (const job of jobs) assert.equal(await insert(transaction, job), true);
    return transaction;
  };
  const committedWith = async (...jobs: Key[]): Promise<void> => commit(await beginWith(...jobs));

  describe(`${name} as a DbProvider`, () => {
    beforeAll(async () => {
      opened = await open();
    }, OPEN_TIMEOUT_MS);
    afterEach(async () => {
      for (const one of begun.splice(0)) await one.end();
    }, TEST_TIMEOUT_MS);
    afterAll(async () => {
      await opened?.close();
    }, OPEN_TIMEOUT_MS);

    describe('a transaction', () => {
      it('names the database that is asked about it later', async () => {
        const transaction = await begin();
        const { provider, ref, resolver } = harness();
        assert.deepEqual(await transaction.ref(resolver), ref);
        assert.deepEqual([provider.provider, provider.name], [ref.provider, ref.name]);
      });

      it('is active until it commits', async () => {
        const transaction = await beginWith(aKey());
        assert.equal(transaction.isActive(), true);
        await commit(transaction);
        assert.equal(transaction.isActive(), false);
      });

      it('is active until it rolls back', async () => {
        const transaction = await beginWith(aKey());
        await transaction.rollback();
        assert.equal(transaction.isActive(), false);
      });

      it('ends with its connection', async () => {
        const job = aKey();
        const transaction = await beginWith(job);
        await transaction.close();
        assert.equal(transaction.isActive(), false);
        assert.equal(await untilDecided(() => ask(job)), 'rolled-back');
      });

      it('takes the barrier of an instance once', async () => {
        const job = aKey();
        const transaction = await beginWith(job);
        await commit(transaction);
        assert.equal(await insert(await begin(), job), false);
      });

      it('that meets its own barrier, and is rolled back then, leaves none', async () => {
        const job = aKey();
        const transaction = await beginWith(job);
        assert.equal(await insert(transaction, job), false);
        await transaction.rollback();
        assert.equal(await untilDecided(() => ask(job)), 'rolled-back');
      });

      it('holds the barriers of several jobs', async () => {
        const jobs = [aKey(), aKey(), aKey()];
        await committedWith(...jobs);
        for (const job of jobs) assert.equal(await ask(job), 'committed');
      });

      it('tells gids and instances apart byte by byte', async () => {
        const job = aKey();
        const others = [
          { ...job, gid: job.gid.toUpperCase() },
          { ...job, instance: job.instance.toUpperCase() },
          { ...job, gid: `${job.gid}0` },
        ];
        await committedWith(job);
        for (const other of others) assert.equal(await hasCommitted(other), false);
        await committedWith(...others);
        for (const other of others) assert.equal(await ask(other), 'committed');
      });
    });

    describe('an in-doubt question', () => {
      it('is answered "committed" after a commit', async () => {
        const job = aKey();
        await committedWith(job);
        assert.equal(await ask(job), 'committed');
      });

      it('is answered "rolled-back" after a rollback', async () => {
        const job = aKey();
        const transaction = await beginWith(job);
        await transaction.rollback();
        assert.equal(await ask(job), 'rolled-back');
      });

      it('is answered "rolled-back" when the barrier was taken out again before the commit', async () => {
        const job = aKey();
        const transaction = await beginWith(job);
        await transaction.deleteBarrier(job.gid, job.instance);
        await commit(transaction);
        assert.equal(await hasCommitted(job), false);
        assert.equal(await ask(job), 'rolled-back');
      });

      it('gets the same answer however often it is asked', async () => {
        const [committed, lost] = [aKey(), aKey()];
        await committedWith(committed);
        for (let i = 0; i < 3; i++) {
          assert.equal(await ask(committed), 'committed');
          assert.equal(await ask(lost), 'rolled-back');
        }
      });

      it('gets one answer when many ask at the same time', async () => {
        const [committed, lost] = [aKey(), aKey()];
        await committedWith(committed);
        const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => ask(i % 2 ? committed : lost)));
        // Many at a time may have to wait for each other for too long; they may not contradict each other.
        for (const [i, answer] of answers.entries()) assert.ok([i % 2 ? 'committed' : 'rolled-back', 'unknown'].includes(answer), answer);
        assert.equal(await ask(committed), 'committed');
        assert.equal(await ask(lost), 'rolled-back');
      });

      it('that comes before the barrier keeps the barrier out for ever', async () => {
        const job = aKey();
        assert.equal(await ask(job), 'rolled-back');
        const transaction = await begin();
        assert.equal(await insert(transaction, job), false);
        await commit(transaction).catch(() => {}); // where a refused insert ends the transaction (MongoDB), there is nothing to commit
        assert.equal(await untilDecided(() => ask(job)), 'rolled-back');
        assert.equal(await hasCommitted(job), false);
      });

      it('decides nothing about another instance of the gid', async () => {
        const [first, second] = twoInstances();
        assert.equal(await ask(first), 'rolled-back');
        await committedWith(second);
        assert.equal(await ask(second), 'committed');
        assert.equal(await ask(first), 'rolled-back');
      });

      for (const [ending, right] of [
        ['commit', 'committed'],
        ['rollback', 'rolled-back'],
      ] as const) {
        it(`waits while the transaction is open, and is answered right after its ${ending}`, async () => {
          const job = aKey();
          const transaction = await beginWith(job);
          const question = ask(job);
          const early = await Promise.race([question, sleep(WAITS_MS, 'waits' as const, { ref: false })]);
          assert.ok(early === 'waits' || early === 'unknown', `answered ${early} while the transaction is open`);
          await (ending === 'commit' ? commit(transaction) : transaction.rollback());
          const late = await question;
          assert.ok(late === right || late === 'unknown', `answered ${late}`);
          assert.equal(await untilDecided(() => ask(job)), right);
        });
      }

      it('gives up waiting after a while, says that it does not know, and leaves the transaction alone', async () => {
        const job = aKey();
        const transaction = await beginWith(job);
        assert.equal(await Promise.race([ask(job), sleep(BOUND_MS, 'waits for ever', { ref: false })]), 'unknown');
        assert.equal(transaction.isActive(), true);
        await commit(transaction);
        assert.equal(await untilDecided(() => ask(job)), 'committed');
      });

      it('and the barrier, in a race, agree on who was first', async () => {
        for (let round = 0; round < 20; round++) {
          const job = aKey();
          const transaction = await begin();
          const question = ask(job);
          if (round % 2) await new Promise((resolve) => setImmediate(resolve));
          // Where an insert in a transaction does not wait, it is refused, with an error that the user's retry loop knows.
          const first = await insert(transaction, job).catch(() => false);
          await (first ? commit(transaction) : transaction.rollback());
          const right = first ? 'committed' : 'rolled-back';
          const answer = await question;
          assert.ok(answer === right || answer === 'unknown', `the barrier went in: ${first}, the answer: ${answer}`);
          assert.equal(await untilDecided(() => ask(job)), right);
          await begun.pop()?.end();
        }
      });
    });

    describe('a look for the commit', () => {
      it('finds a committed barrier', async () => {
        const job = aKey();
        await committedWith(job);
        assert.equal(await hasCommitted(job), true);
      });

      it('never sees an uncommitted one, nor waits for it', async () => {
        const job = aKey();
        const transaction = await beginWith(job);
        assert.equal(await hasCommitted(job), false);
        assert.equal(transaction.isActive(), true);
        await transaction.rollback();
        assert.equal(await hasCommitted(job), false);
      });

      it('is no question: the barrier can still come', async () => {
        const job = aKey();
        assert.equal(await hasCommitted(job), false);
        await committedWith(job);
        assert.equal(await hasCommitted(job), true);
      });

      it('takes the barrier of a question for no commit', async () => {
        const job = aKey();
        await ask(job);
        assert.equal(await hasCommitted(job), false);
      });
    });

    describe('a purge', () => {
      it('deletes the old barriers of its gids, of all their instances and whoever wrote them', async () => {
        const [first, second] = twoInstances();
        await committedWith(first);
        await ask(second);
        await harness().age(first.gid, HALF_AN_HOUR_MS + 60_000);
        await purge(first);
        assert.equal(await hasCommitted(first), false);
        await committedWith(second); // it would not go in if the question's were still there
      });

      it('keeps barriers younger than half an hour: their gid was started anew', async () => {
        const job = aKey();
        await committedWith(job);
        await purge(job);
        await harness().age(job.gid, HALF_AN_HOUR_MS - 120_000);
        await purge(job);
        assert.equal(await hasCommitted(job), true);
      });

      it('keeps the barriers of other gids', async () => {
        const [purged, kept] = [aKey(), aKey()];
        await committedWith(purged, kept);
        for (const { gid } of [purged, kept]) await harness().age(gid, 2 * HALF_AN_HOUR_MS);
        await purge(purged);
        assert.deepEqual([await hasCommitted(purged), await hasCommitted(kept)], [false, true]);
      });

      it('takes many gids at once, and none', async () => {
        const jobs = Array.from({ length: 500 }, aKey);
        await committedWith(...jobs.slice(0, 3));
        for (const { gid } of jobs.slice(0, 3)) await harness().age(gid, 2 * HALF_AN_HOUR_MS);
        await purge(...jobs);
        await purge();
        assert.equal(await hasCommitted(jobs[1] as Key), false);
      });
    });

    describeStepLedger({ it, describe, harness });

    it('migrates again without losing a barrier', async () => {
      const job = aKey();
      await committedWith(job);
      await harness().provider.migrate({ tenant: harness().ref.tenant });
      assert.equal(await hasCommitted(job), true);
    });
  });
}

interface Key {
  readonly gid: string;
  readonly instance: string;
}

let keys = 0;

function aKey(): Key {
  return { gid: `gid-${newGid()}`, instance: `i${++keys}-${newGid()}` };
}

function twoInstances(): readonly [Key, Key] {
  const { gid } = aKey();
  return [
    { ...aKey(), gid },
    { ...aKey(), gid },
  ];
}

async function commit(transaction: DbTransaction): Promise<void> {
  assert.ok(transaction.commit, 'The harness must begin transactions that we may commit.');
  await transaction.commit();
}

/** The connection of an ended transaction may need a moment to be gone on the server. */
async function untilDecided(ask: () => Promise<InDoubtAnswer>): Promise<InDoubtAnswer> {
  const deadline = performance.now() + BOUND_MS;
  for (;;) {
    const answer = await ask();
    if (answer !== 'unknown' || performance.now() > deadline) return answer;
    await sleep(PAUSE_MS);
  }
}
