import { afterEach, describe, expect, it, jest } from '@jest/globals';
import { silentLogger } from '@stepping/core';
import { MessageStopper } from '../src/message-stopper.js';
import { until } from './support/an-endpoint.js';

const stoppers: MessageStopper[] = [];
afterEach(async () => {
  jest.useRealTimers();
  await Promise.all(stoppers.splice(0).map((stopper) => stopper.stop()));
});

/** What the server says to one try after the other; the last answer stays. */
function aStopper(...answers: ('done' | 'refused' | Error)[]) {
  const tries: number[] = [];
  const log: string[] = [];
  const stopper = new MessageStopper({
    server: {
      async forceStop() {
        const answer = answers[Math.min(tries.length, answers.length - 1)] ?? 'done';
        tries.push(performance.now());
        if (answer instanceof Error) throw answer;
        return answer;
      },
    },
    log: { ...silentLogger, warn: (message) => void log.push(message) },
  });
  stoppers.push(stopper);
  return { stopper, tries, log };
}

describe('A message of a dead step', () => {
  it('is stopped a moment after it was found, so that DTM has the answer', async () => {
    jest.useFakeTimers();
    const { stopper, tries } = aStopper('refused');
    stopper.stopMessage('a');
    await jest.advanceTimersByTimeAsync(49);
    expect(tries).toHaveLength(0);
    await jest.advanceTimersByTimeAsync(1);
    expect(tries).toHaveLength(1);
  });

  it('is stopped again when the stop was undone, until it has stayed', async () => {
    const { stopper, tries } = aStopper('done', 'done', 'refused');
    stopper.stopMessage('a');
    await until(() => tries.length === 3);
    await stopper.stop();
    expect(tries).toHaveLength(3);
  });

  it('is stopped again when the server does not answer', async () => {
    const { stopper, tries, log } = aStopper(new Error('connection refused'), 'refused');
    stopper.stopMessage('a');
    await until(() => tries.length === 2);
    expect(log).toHaveLength(1);
  });

  it('is stopped once, however often it is found at the same time', async () => {
    const { stopper, tries } = aStopper('refused');
    for (let i = 0; i < 5; i++) stopper.stopMessage('a');
    await until(() => tries.length > 0);
    await stopper.stop();
    expect(tries).toHaveLength(1);
  });

  it('is stopped at once when the process ends, which waits for that, but not for long', async () => {
    const { stopper, tries } = aStopper('done');
    stopper.stopMessage('a');
    await stopper.stop();
    expect(tries).toHaveLength(1);
    const hangs = new MessageStopper({ server: { forceStop: () => new Promise(() => {}) }, log: silentLogger });
    hangs.stopMessage('a');
    const calledAt = performance.now();
    await hangs.stop();
    expect(performance.now() - calledAt).toBeLessThan(10_000);
  });
});
