import { errorOf } from '../test/support/an-app.js';
import { turns } from './turns.js';

const tick = () => new Promise(setImmediate);

describe('Turns', () => {
  it('go one at a time, in the order of asking, wherever in the process they were made', async () => {
    const order: string[] = [];
    const work = (name: string) => async () => {
      order.push(`${name} in`);
      await tick();
      order.push(`${name} out`);
    };
    await Promise.all(['a', 'b', 'c'].map((name) => turns('one file').run(work(name))));
    expect(order).toEqual(['a in', 'a out', 'b in', 'b out', 'c in', 'c out']);
  });

  it('of different keys do not wait for each other', async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const first = turns('file 1').run(() => promise);
    await expect(turns('file 2').run(async () => 'done')).resolves.toBe('done');
    resolve();
    await first;
  });

  it('go on after one that failed, whose error is that of its caller', async () => {
    const failed = turns('k').run(async () => {
      throw new Error('mine');
    });
    const next = turns('k').run(async () => 'next');
    expect((await errorOf(() => failed)).message).toBe('mine');
    await expect(next).resolves.toBe('next');
  });

  it('cannot be taken again inside: it would wait for itself', async () => {
    const error = await errorOf(() => turns('k').run(() => turns('other').run(() => turns('k').run(async () => {}))));
    expect(error.code).toBe('TX_NESTED');
    expect(error.message).toContain('k is open in this very call');
  });

  it('are held by the code inside, until they end', async () => {
    const mine = turns('k');
    let later: Promise<boolean> = Promise.resolve(true);
    const { promise, resolve } = Promise.withResolvers<void>();
    expect(mine.heldByCaller()).toBe(false);
    await mine.run(async () => {
      expect(mine.heldByCaller()).toBe(true);
      expect(turns('another').heldByCaller()).toBe(false);
      later = promise.then(() => mine.heldByCaller());
    });
    resolve();
    await expect(later).resolves.toBe(false);
  });
});
