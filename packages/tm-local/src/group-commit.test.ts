import { describe, expect, it } from '@jest/globals';
import { SteppingError } from '@stepping/core';
import { systemClock } from './clock.js';
import { GroupCommit, WriteGivenUp } from './group-commit.js';
import { WriteRefused } from './transaction-store.js';

interface Write {
  readonly gid: string;
  readonly bad?: boolean;
}

/** The other side of a writer: records batches and answers, refuses or stays silent as it is told. */
function otherSide() {
  const batches: string[][] = [];
  const script: ((batch: readonly Write[]) => Promise<readonly string[]> | undefined)[] = [];
  const send = (batch: readonly Write[]) => {
    batches.push(batch.map(({ gid }) => gid));
    return script.shift()?.(batch) ?? Promise.resolve(batch.map(({ gid }) => `done ${gid}`));
  };
  return { batches, script, send };
}

function held() {
  const { promise, resolve } = Promise.withResolvers<void>();
  return { promise, release: resolve };
}

describe('group commit', () => {
  it('sends what is queued while a batch is in flight as the next batch, sorted by gid', async () => {
    const { batches, script, send } = otherSide();
    const first = held();
    script.push(async (batch) => {
      await first.promise;
      return batch.map(({ gid }) => `done ${gid}`);
    });
    const writer = new GroupCommit<Write, string>({ send, clock: systemClock });
    const a = writer.add({ gid: 'a' }, 0);
    while (batches.length < 1) await new Promise(setImmediate);
    const rest = ['d', 'b', 'c'].map((gid) => writer.add({ gid }, 0));
    first.release();
    expect((await Promise.all([a, ...rest])).map(({ answer }) => answer)).toEqual(['done a', 'done d', 'done b', 'done c']);
    expect(batches).toEqual([['a'], ['b', 'c', 'd']]);
  });

  it('never puts one gid twice into a batch, nor into two that are in flight together', async () => {
    const { batches, send } = otherSide();
    const writer = new GroupCommit<Write, string>({ send, clock: systemClock, lanes: 2 });
    await Promise.all(['a', 'a', 'b', 'a'].map((gid) => writer.add({ gid }, 0)));
    for (const batch of batches) expect(new Set(batch).size).toBe(batch.length);
    expect(batches.flat().filter((gid) => gid === 'a')).toHaveLength(3);
  });

  it('never sends more than a batch may have', async () => {
    const { batches, send } = otherSide();
    const writer = new GroupCommit<Write, string>({ send, clock: systemClock, maxBatch: 3 });
    await Promise.all(Array.from({ length: 10 }, (_, i) => writer.add({ gid: `job-${i}` }, 0)));
    expect(batches.map(({ length }) => length)).toEqual([3, 3, 3, 1]);
  });

  it('splits a refused batch until the poisonous write is alone, and does all others', async () => {
    const { script, send } = otherSide();
    const refuse = async (batch: readonly Write[]) => {
      if (batch.some(({ bad }) => bad)) throw new WriteRefused('no');
      return batch.map(({ gid }) => `done ${gid}`);
    };
    for (let i = 0; i < 20; i++) script.push(refuse);
    const writer = new GroupCommit<Write, string>({ send, clock: systemClock });
    const writes = Array.from({ length: 9 }, (_, i) => writer.add({ gid: `job-${i}`, bad: i === 5 }, 0));
    const settled = await Promise.allSettled(writes);
    expect(settled.map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'fulfilled',
      'fulfilled',
      'fulfilled',
      'rejected',
      'fulfilled',
      'fulfilled',
      'fulfilled',
    ]);
    await expect(writes[5]).rejects.toBeInstanceOf(WriteRefused);
  });

  it('sends the very same batch again when its answer was lost, and says so', async () => {
    const { batches, script, send } = otherSide();
    script.push(() => Promise.reject(new Error('connection lost')));
    const writer = new GroupCommit<Write, string>({ send, clock: systemClock });
    const answers = await Promise.all([writer.add({ gid: 'b' }, 5_000), writer.add({ gid: 'a' }, 5_000)]);
    expect(answers).toEqual([
      { answer: 'done b', repeated: true },
      { answer: 'done a', repeated: true },
    ]);
    expect(batches).toEqual([
      ['a', 'b'],
      ['a', 'b'],
    ]);
  });

  it('does not repeat a write that must be sent only once, though its neighbours in the batch are', async () => {
    const { batches, script, send } = otherSide();
    script.push(() => Promise.reject(new Error('connection lost')));
    const writer = new GroupCommit<Write, string>({ send, clock: systemClock });
    const [once, again] = [writer.add({ gid: 'prepare' }, 0), writer.add({ gid: 'start' }, 5_000)];
    await expect(once).rejects.toMatchObject({ name: 'WriteGivenUp', sent: true });
    expect((await again).repeated).toBe(true);
    expect(batches).toEqual([['prepare', 'start'], ['start']]);
  });

  it('knows a write that was never sent from one that may have been done', async () => {
    const { script, send } = otherSide();
    script.push(() => Promise.reject(new SteppingError('STORE_UNAVAILABLE', 'down')));
    script.push(() => Promise.reject(new Error('connection lost')));
    const writer = new GroupCommit<Write, string>({ send, clock: systemClock });
    await expect(writer.add({ gid: 'a' }, 0)).rejects.toMatchObject({ sent: false });
    await expect(writer.add({ gid: 'a' }, 0)).rejects.toMatchObject({ sent: true });
  });

  it('does not call a repeat that is refused refused: its first try may have been done', async () => {
    const { script, send } = otherSide();
    script.push(() => Promise.reject(new Error('connection lost')));
    script.push(() => Promise.reject(new WriteRefused('no')));
    const writer = new GroupCommit<Write, string>({ send, clock: systemClock });
    await expect(writer.add({ gid: 'a' }, 5_000)).rejects.toMatchObject({ name: 'WriteGivenUp', sent: true });
  });

  it('refuses, unsent, what would exceed the bound of waiting bytes, and takes more once there is room', async () => {
    const { script, send } = otherSide();
    const first = held();
    script.push(async (batch) => {
      await first.promise;
      return batch.map(({ gid }) => gid);
    });
    const writer = new GroupCommit<Write, string>({ send, clock: systemClock, maxBytes: 2, sizeOf: () => 1 });
    const two = [writer.add({ gid: 'a' }, 0), writer.add({ gid: 'b' }, 0)];
    await expect(writer.add({ gid: 'c' }, 0)).rejects.toBeInstanceOf(WriteGivenUp);
    first.release();
    await Promise.all(two);
    await new Promise(setImmediate);
    expect((await writer.add({ gid: 'c' }, 0)).answer).toBe('done c');
  });
});
