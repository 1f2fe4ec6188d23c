import assert from 'node:assert/strict';
import { describe, it } from '@jest/globals';
import { SteppingError } from '@stepping/core';
import fc from 'fast-check';
import { property } from '../../../test/properties.js';
import { GroupCommit, type WriteGivenUp } from '../src/group-commit.js';
import { virtualClock } from '../src/testing/virtual-clock.js';
import { WriteRefused } from '../src/transaction-store.js';

interface Write {
  readonly gid: string;
  readonly number: number;
  /** The server refuses every batch with it. */
  readonly poisonous: boolean;
  readonly repeatForMs: number;
}

/** What becomes of a batch that is sent, if none of its writes is poisonous. */
type Fate = 'done' | 'done, unheard' | 'lost' | 'not sent' | 'refused';
const fate = fc.constantFrom<Fate>('done', 'done', 'done', 'done, unheard', 'lost', 'not sent', 'refused');

const write = fc.record({
  gid: fc.constantFrom('a', 'b', 'c', 'd', 'e', 'f'),
  poisonous: fc.nat(9).map((n) => n === 0),
  repeatForMs: fc.constantFrom(0, 0, 200, 5_000),
  /** How long after the write before it. */
  afterMs: fc.constantFrom(0, 0, 0, 20, 100),
});

const script = fc.record({
  writes: fc.array(write, { maxLength: 25, size: 'max' }),
  sends: fc.array(fc.record({ fate, takesMs: fc.constantFrom(0, 1, 30, 500) }), { maxLength: 60, size: 'max' }),
  lanes: fc.integer({ min: 1, max: 3 }),
  maxBatch: fc.integer({ min: 1, max: 8 }),
});

describe('group commit, whatever the server does', () => {
  it('answers every write once and truly, has no gid twice in flight, and repeats nothing but parts of what it had sent', async () => {
    await fc.assert(
      fc.asyncProperty(script, async ({ writes, sends, lanes, maxBatch }) => {
        const clock = virtualClock();
        const inFlight = new Set<string>();
        const done = new Set<Write>();
        const sent: (readonly Write[])[] = [];
        const unheard = new Set<Write>();
        const fates = sends.values();
        let flights = 0;

        const send = async (batch: readonly Write[]): Promise<readonly number[]> => {
          assert.ok(batch.length > 0 && batch.length <= maxBatch, `${batch.length} in a batch`);
          const gids = batch.map(({ gid }) => gid);
          assert.deepEqual(gids, [...new Set(gids)].sort());
          for (const gid of gids) assert.ok(!inFlight.has(gid), `${gid} is in flight twice`);
          assert.ok(++flights <= lanes);
          // A write that was sent before comes again with nothing beside it that was not beside it then.
          for (const before of sent)
            if (before.some((write) => batch.includes(write))) for (const write of batch) assert.ok(before.includes(write));
          for (const write of batch) assert.ok(!unheard.has(write) || write.repeatForMs > 0, `${write.number} is to be sent once`);
          for (const gid of gids) inFlight.add(gid);
          const { fate, takesMs } = fates.next().value ?? { fate: 'done', takesMs: 0 };
          try {
            if (takesMs > 0) await new Promise<void>((resolve) => clock.setTimeout(resolve, takesMs));
            if (fate === 'not sent') throw new SteppingError('STORE_UNAVAILABLE', 'down');
            sent.push(batch);
            if (fate === 'refused' || batch.some(({ poisonous }) => poisonous)) throw new WriteRefused('no');
            if (fate !== 'lost') for (const write of batch) done.add(write);
            if (fate !== 'done') {
              for (const write of batch) unheard.add(write);
              throw new Error('connection lost');
            }
            return batch.map(({ number }) => number);
          } finally {
            flights--;
            for (const gid of gids) inFlight.delete(gid);
          }
        };

        const writer = new GroupCommit<Write, number>({ send, clock, lanes, maxBatch });
        const results: Promise<void>[] = [];
        let answered = 0;
        for (const [number, { afterMs, ...rest }] of writes.entries()) {
          if (afterMs > 0) await clock.advance(afterMs);
          const write: Write = { number, ...rest };
          const result = writer.add(write, write.repeatForMs).then(
            ({ answer, repeated }) => {
              assert.equal(answer, number);
              assert.ok(done.has(write), `${number} is answered, but was not done`);
              assert.equal(repeated, unheard.has(write));
            },
            (error: unknown) => {
              if (error instanceof WriteRefused) assert.ok(!unheard.has(write), `${number} is called refused, but may have been done`);
              else assert.equal((error as WriteGivenUp).sent, unheard.has(write), String(error));
            },
          );
          results.push(result.then(() => void answered++));
        }
        for (const wrong of results) wrong.catch(() => answered++);
        for (let second = 0; second < 200 && answered < writes.length; second++) await clock.advance(1_000);
        assert.equal(answered, writes.length, `${writes.length - answered} writes are never answered`);
        await Promise.all(results);
      }),
      property(300),
    );
  }, 60_000);
});
