import assert from 'node:assert/strict';
import { newGid } from '../gid.js';
import type { LedgerAnswer, LedgerClaim, LedgerEnd, LedgerRecord, StepLedger } from '../step-ledger.js';
import type { DbProviderHarness } from './describe-db-provider.js';

const LEASE_MS = 600_000;
/** Far more than a test takes. Unit: ms. */
const DELAY_MS = 300_000;
/** Clocks of databases count in µs, ms or by statement. Unit: ms. */
const ROUNDING_MS = 2;

const FAILED = { name: 'Error', message: 'not yet: "\u0000" \ud800 \u{1f600}' };
const FOR_GOOD = { name: 'STEP_PERMANENT', message: 'never' };

interface Parts {
  readonly describe: (name: string, body: () => void) => void;
  readonly it: (title: string, body: () => Promise<void>) => void;
  readonly harness: () => DbProviderHarness;
}

/** What the {@link StepLedger} of a db provider must do; nothing where it has none. Part of `describeDbProvider`. */
export function describeStepLedger({ describe, harness, ...runner }: Parts): void {
  const it = (title: string, body: (step: StepUnderTest) => Promise<void>) =>
    runner.it(title, async () => {
      const { ledger } = harness().provider;
      if (ledger !== undefined) await body(new StepUnderTest(harness(), ledger));
    });

  describe('a ledger', () => {
    it('knows nothing of a step that was never begun', async (step) => {
      assert.deepEqual(await step.read(), []);
      assert.equal(await step.end('nobody', { end: 'done' }), false);
      assert.equal(await step.extend('nobody'), false);
    });

    it('has counted an attempt before it is begun', async (step) => {
      assert.deepEqual(await step.begin('one'), begun(1));
      const [record] = await step.read();
      assert.deepEqual({ ...record, dueAt: undefined }, { ...OPEN, attempts: 1, held: true });
      assert.ok(record?.dueAt instanceof Date);
    });

    it('answers a claim that is sent again like the first time, and counts it once', async (step) => {
      for (let i = 0; i < 3; i++) assert.deepEqual(await step.begin('one'), begun(1));
      await step.age(2 * LEASE_MS); // nobody else has taken it since
      assert.deepEqual(await step.begin('one'), begun(1));
      assert.equal((await step.begin('two')).answer, 'wait');
      assert.equal((await step.known()).attempts, 1);
    });

    it('begins a token once: after its end it comes too late', async (step) => {
      await step.begin('one');
      await step.end('one', { end: 'hand-back' });
      assert.deepEqual(await step.begin('one'), { answer: 'wait', inMs: 0 });
      assert.deepEqual(await step.begin('two'), begun(1));
    });

    it('begins one of many claims at the same time, and lets the others wait', async (step) => {
      const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => step.begin(`token-${i}`)));
      assert.equal(answers.filter(({ answer }) => answer === 'begun').length, 1);
      assert.equal(answers.filter(({ answer }) => answer === 'wait').length, 7);
      assert.equal((await step.known()).attempts, 1);
    });

    it('begins one of many claims of a step that has failed before', async (step) => {
      await step.fails('one', 0);
      const answers = await Promise.all(Array.from({ length: 8 }, (_, i) => step.begin(`token-${i}`)));
      assert.deepEqual(
        answers.filter(({ answer }) => answer === 'begun'),
        [begun(2)],
      );
      assert.equal((await step.known()).attempts, 2);
    });

    it('says for how long a step is held', async (step) => {
      await step.begin('one');
      const answer = await step.begin('two');
      assert.ok(answer.answer === 'wait' && answer.inMs > LEASE_MS / 2 && answer.inMs <= LEASE_MS + ROUNDING_MS, JSON.stringify(answer));
    });

    it('gives the step of a holder that went silent to the next one, whose attempt counts', async (step) => {
      await step.begin('one');
      await step.age(LEASE_MS + ROUNDING_MS);
      assert.deepEqual(await step.begin('two'), begun(2));
      assert.equal(await step.extend('one'), false);
      assert.equal(await step.end('one', { end: 'done' }), false);
      assert.deepEqual([(await step.known()).state, (await step.known()).attempts], ['open', 2]);
    });

    it('prolongs the hold of its holder, also when it is over and nobody came', async (step) => {
      await step.begin('one');
      for (let i = 0; i < 2; i++) {
        await step.age(LEASE_MS + ROUNDING_MS);
        assert.equal(await step.extend('one'), true);
        assert.equal((await step.begin('two')).answer, 'wait');
      }
      assert.equal(await step.extend('two'), false);
    });

    it('prolongs nothing that has ended', async (step) => {
      await step.fails('one', 0);
      assert.equal(await step.extend('one'), false);
      assert.deepEqual(await step.begin('two'), begun(2));
    });

    it('begins no step that is done', async (step) => {
      await step.begin('one');
      assert.equal(await step.end('one', { end: 'done' }), true);
      assert.deepEqual(await step.begin('two'), { answer: 'done' });
      assert.deepEqual(await step.begin('one'), { answer: 'done' });
      assert.deepEqual(await step.begin('three', { generation: 7 }), { answer: 'done' });
      assert.deepEqual(await step.read(), [{ ...OPEN, state: 'done', attempts: 1 }]);
    });

    it('begins no step that is dead', async (step) => {
      await step.begin('one');
      assert.equal(await step.end('one', { end: 'dead', error: FOR_GOOD }), true);
      assert.deepEqual(await step.begin('two'), { answer: 'dead' });
      assert.deepEqual(await step.begin('one'), { answer: 'dead' });
      assert.deepEqual(await step.read(), [{ ...OPEN, state: 'dead', attempts: 1, lastError: FOR_GOOD }]);
    });

    it('begins a failed step again when its time has come, not before', async (step) => {
      assert.equal(await step.fails('one', DELAY_MS), true);
      const answer = await step.begin('two');
      assert.ok(answer.answer === 'wait' && answer.inMs > DELAY_MS / 2 && answer.inMs <= DELAY_MS + ROUNDING_MS, JSON.stringify(answer));
      assert.deepEqual({ ...(await step.known()), dueAt: undefined }, { ...OPEN, attempts: 1, lastError: FAILED });
      await step.age(DELAY_MS + ROUNDING_MS);
      assert.deepEqual(await step.begin('two'), begun(2));
    });

    it('keeps what it is told of the pace of the caller, and the last error', async (step) => {
      await step.begin('one');
      await step.end('one', { end: 'retry', delayMs: 0, intervalMs: 20_000, error: FAILED });
      assert.deepEqual(await step.begin('two'), begun(2, 20_000));
      assert.deepEqual(await step.begin('two'), begun(2, 20_000));
      await step.end('two', { end: 'hand-back' });
      assert.deepEqual(await step.begin('three'), begun(2, 20_000));
      await step.end('three', { end: 'retry', delayMs: 0, intervalMs: undefined, error: FAILED });
      assert.deepEqual(await step.begin('four'), begun(3));
      await step.end('four', { end: 'done' });
      assert.deepEqual((await step.known()).lastError, FAILED);
    });

    it('takes an error of any size, and keeps its begin at least', async (step) => {
      await step.begin('one');
      assert.equal(await step.end('one', { end: 'dead', error: { name: 'Error', message: `why: ${'x'.repeat(5_000_000)}` } }), true);
      const { message = '' } = (await step.known()).lastError ?? {};
      assert.ok(message.startsWith('why: xxx'));
    });

    it('does not count an attempt that is handed back, which anybody may take at once', async (step) => {
      await step.fails('one', 0);
      await step.begin('two');
      for (let i = 0; i < 3; i++) assert.equal(await step.end('two', { end: 'hand-back' }), true);
      assert.equal((await step.known()).attempts, 1);
      assert.deepEqual(await step.begin('three', { maxAttempts: 2 }), begun(2));
    });

    for (const end of [
      { end: 'done' },
      { end: 'dead', error: FOR_GOOD },
      { end: 'retry', delayMs: DELAY_MS, intervalMs: undefined, error: FAILED },
      { end: 'hand-back' },
    ] satisfies LedgerEnd[]) {
      it(`takes the end '${end.end}' from its holder alone, and again when its answer was lost`, async (step) => {
        await step.begin('one');
        const before = await step.readTimeless();
        assert.equal(await step.end('two', end), false);
        assert.deepEqual(await step.readTimeless(), before);
        assert.equal(await step.end('one', end), true);
        const after = await step.readTimeless();
        assert.equal(await step.end('one', end), true);
        assert.deepEqual(await step.readTimeless(), after);
        assert.equal(await step.end('two', end), false);
        assert.deepEqual(await step.readTimeless(), after);
      });
    }

    it('takes no other end from the one that has ended its attempt', async (step) => {
      await step.fails('one', 0);
      assert.equal(await step.end('one', { end: 'done' }), false);
      assert.equal((await step.known()).state, 'open');
    });

    it('marks a step as dead whose holder went silent in the last attempt', async (step) => {
      await step.fails('one', 0);
      assert.deepEqual(await step.begin('two', { maxAttempts: 2 }), begun(2));
      assert.equal((await step.begin('three', { maxAttempts: 2 })).answer, 'wait');
      await step.age(LEASE_MS + ROUNDING_MS);
      // Also when its answer was lost; and to no other claim.
      for (let i = 0; i < 2; i++) assert.deepEqual(await step.begin('three', { maxAttempts: 2 }), BURIED);
      assert.deepEqual(await step.begin('four', { maxAttempts: 2 }), { answer: 'dead' });
      assert.deepEqual(await step.begin('two', { maxAttempts: 2 }), { answer: 'dead' });
      const { state, attempts, lastError } = await step.known();
      assert.deepEqual([state, attempts, lastError?.name], ['dead', 2, 'STEP_PERMANENT']);
      assert.match(lastError?.message ?? '', /worker lost/i);
      for (const token of ['two', 'three']) {
        for (const end of [{ end: 'done' }, { end: 'dead', error: FAILED }] as const) assert.equal(await step.end(token, end), false);
        assert.equal(await step.extend(token), false);
      }
      assert.deepEqual(await step.begin('five', { generation: 1, maxAttempts: 2 }), begun(1));
    });

    it('says to one of many claims that it marked the step as dead', async (step) => {
      await step.begin('one', { maxAttempts: 1 });
      await step.age(LEASE_MS + ROUNDING_MS);
      const answers = await Promise.all(Array.from({ length: 6 }, (_, i) => step.begin(`token-${i}`, { maxAttempts: 1 })));
      assert.equal(answers.filter(({ answer }) => answer === 'dead').length, 6);
      assert.equal(answers.filter((answer) => 'buried' in answer).length, 1);
    });

    it('marks a step as dead that has failed more often than is allowed by now, and leaves its error', async (step) => {
      for (const token of ['one', 'two']) await step.fails(token, 0);
      assert.deepEqual(await step.begin('three', { maxAttempts: 2 }), BURIED);
      const { state, attempts, lastError } = await step.known();
      assert.deepEqual([state, attempts, lastError], ['dead', 2, FAILED]);
    });

    it('counts without a bound where none is given', async (step) => {
      for (let i = 1; i <= 30; i++) {
        assert.deepEqual(await step.begin(`token-${i}`), begun(i));
        await step.end(`token-${i}`, { end: 'retry', delayMs: 0, intervalMs: undefined, error: FAILED });
      }
    });

    it('opens what a former generation has left as dead, with no attempts and no pace', async (step) => {
      await step.begin('one');
      await step.end('one', { end: 'retry', delayMs: 0, intervalMs: 20_000, error: FAILED });
      await step.begin('two');
      await step.end('two', { end: 'dead', error: FOR_GOOD });
      assert.deepEqual(await step.begin('three', { generation: 1, maxAttempts: 1 }), begun(1));
      assert.deepEqual(await step.read().then(([record]) => [record?.generation, record?.state, record?.attempts]), [1, 'open', 1]);
    });

    it('answers "dead" to a former generation for good', async (step) => {
      await step.begin('one', { generation: 2 });
      assert.deepEqual(await step.begin('two', { generation: 1 }), { answer: 'dead' });
      await step.end('one', { end: 'hand-back' });
      assert.deepEqual(await step.begin('two', { generation: 1 }), { answer: 'dead' });
      assert.deepEqual(await step.begin('three', { generation: 2 }), begun(1));
      await step.end('three', { end: 'done' });
      assert.deepEqual(await step.begin('two', { generation: 1 }), { answer: 'dead' });
    });

    it('lets a new generation wait for whoever holds the step in the former one, and for nothing else', async (step) => {
      await step.begin('one');
      assert.equal((await step.begin('two', { generation: 1 })).answer, 'wait');
      await step.end('one', { end: 'retry', delayMs: DELAY_MS, intervalMs: undefined, error: FAILED });
      assert.deepEqual(await step.begin('two', { generation: 1 }), begun(1));
      assert.equal(await step.end('one', { end: 'dead', error: FOR_GOOD }), false);
    });

    it('tells steps, starts and jobs apart', async (step) => {
      const others = [
        step.with({ position: 1 }),
        step.with({ position: 12 }),
        step.with({ instance: `${step.key.instance}0` }),
        step.with({ instance: step.key.instance.toUpperCase() }),
        step.with({ gid: step.key.gid.toUpperCase() }),
      ];
      await step.begin('one');
      await step.end('one', { end: 'done' });
      for (const other of others) assert.deepEqual(await other.begin('one'), begun(1));
      assert.deepEqual(
        (await step.read()).map(({ position, state }) => [position, state]),
        [
          [0, 'done'],
          [1, 'open'],
          [12, 'open'],
        ],
      );
      assert.equal((await (others[2] as StepUnderTest).read()).length, 1);
    });

    it('forgets in a sweep what is older than its retention, but nothing that is held or waits', async (step) => {
      const { retentionMs } = step.ledger;
      const another = () => new StepUnderTest(step.harness, step.ledger);
      const [done, dead, lost, young, held, waits] = [another(), another(), another(), another(), another(), another()];
      for (const one of [done, dead, lost, young, held]) await one.begin('one');
      await waits.fails('one', 2 * retentionMs);
      await done.end('one', { end: 'done' });
      await dead.end('one', { end: 'dead', error: FOR_GOOD });
      for (const one of [done, dead, waits]) await one.age(retentionMs + 1_000);
      await lost.age(LEASE_MS + retentionMs + 1_000);
      await young.age(retentionMs - 60_000);
      assert.ok(step.harness.sweep, 'The harness of a provider with a ledger has a sweep().');
      await step.harness.sweep();
      for (const one of [done, dead, lost]) assert.deepEqual(await one.read(), []);
      for (const one of [young, held, waits]) assert.equal((await one.read()).length, 1);
      assert.deepEqual(await done.begin('two'), begun(1));
    });
  });
}

const OPEN: LedgerRecord = { position: 0, generation: 0, state: 'open', attempts: 0, held: false, lastError: undefined, dueAt: undefined };

const BURIED: LedgerAnswer = { answer: 'dead', buried: true };

function begun(attempt: number, intervalMs?: number): LedgerAnswer {
  return { answer: 'begun', attempt, intervalMs };
}

/** One step of a job of its own. */
class StepUnderTest {
  readonly harness: DbProviderHarness;
  readonly ledger: StepLedger;
  readonly key: { readonly gid: string; readonly instance: string; readonly position: number };

  constructor(harness: DbProviderHarness, ledger: StepLedger, key = { gid: `gid-${newGid()}`, instance: `i-${newGid()}`, position: 0 }) {
    this.harness = harness;
    this.ledger = ledger;
    this.key = key;
  }

  with(key: Partial<StepUnderTest['key']>): StepUnderTest {
    return new StepUnderTest(this.harness, this.ledger, { ...this.key, ...key });
  }

  begin(token: string, claim: Partial<LedgerClaim> = {}): Promise<LedgerAnswer> {
    return this.ledger.begin({ ...this.key, generation: 0, token, maxAttempts: undefined, leaseMs: LEASE_MS, ...claim }, this.harness.ref);
  }

  extend(token: string): Promise<boolean> {
    return this.ledger.extend({ ...this.key, token }, LEASE_MS, this.harness.ref);
  }

  end(token: string, end: LedgerEnd): Promise<boolean> {
    return this.ledger.end({ ...this.key, token }, end, this.harness.ref);
  }

  async fails(token: string, delayMs: number): Promise<boolean> {
    await this.begin(token);
    return this.end(token, { end: 'retry', delayMs, intervalMs: undefined, error: FAILED });
  }

  async read(): Promise<readonly LedgerRecord[]> {
    // A driver's array may be of another realm than the runner's.
    return [...(await this.ledger.read(this.key.gid, this.key.instance, this.harness.ref))];
  }

  /** A ledger may tell a time by two clocks. */
  async readTimeless(): Promise<unknown> {
    return (await this.read()).map(({ dueAt, ...record }) => ({ ...record, hasTime: dueAt !== undefined }));
  }

  async known(): Promise<LedgerRecord> {
    const [record] = await this.read();
    assert.ok(record, 'Nothing is known of the step.');
    return record;
  }

  age(ms: number): Promise<void> {
    return this.harness.age(this.key.gid, ms);
  }
}
