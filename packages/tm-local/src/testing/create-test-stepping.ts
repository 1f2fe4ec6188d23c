import { type AnyStep, createStepping, type NameOf, type Stepping, type SteppingOptions, type TmPlugin } from '@stepping/core';
import { Clock } from '../clock.js';
import { LocalEngine, localTm } from '../local-tm.js';
import { memoryStore } from '../memory-store.js';
import { Slots } from '../slots.js';
import { virtualClock } from './virtual-clock.js';

/** Jobs claimed at a time. */
const BATCH = 100;

/** An app whose jobs run when the test says so, and whose time passes when the test says so. */
export type TestStepping<N extends string = string> = Stepping<N> & {
  /** The time of the app, which stands still until it is moved on. */
  clock: {
    now(): Date;
    /** Moves the time on: steps time out and backoffs end. Jobs that become due run at the next {@link TestStepping.drain}. Unit: ms. */
    advance(ms: number): Promise<void>;
  };
  /** Runs everything that is due, and what becomes due by it, and resolves when nothing is left to do at this time. */
  drain(): Promise<void>;
};

/**
 * The app of your tests: the options of your `createStepping`, with the jobs in memory, a virtual clock and no processor; `tm` is ignored. Started already;
 * stop it at the end.
 *
 * @example
 * const stepping = await createTestStepping({ steps: [sendOrderEmail], use: [provide(Mailer, () => mailer)] });
 * await stepping.createJob({ gid: 'order-1' }).addStep(sendOrderEmail, { orderId }).start();
 * await stepping.drain();
 * await stepping.clock.advance(60_000); // past the backoff of a failed attempt
 * await stepping.drain();
 */
export async function createTestStepping<const S extends readonly AnyStep[] = readonly []>(
  options: Omit<SteppingOptions<S>, 'tm'> & { tm?: TmPlugin | undefined },
): Promise<TestStepping<NameOf<S[number]>>> {
  const clock = virtualClock();
  const tm = localTm({ store: memoryStore() });
  const stepping = createStepping<S>({
    ...(options as SteppingOptions<S>),
    tm: {
      ...tm,
      register(registry) {
        tm.register?.(registry);
        registry.provide(Clock, () => clock);
      },
    },
  });
  await stepping.start();
  return Object.assign(stepping, {
    clock: { now: () => new Date(clock.now()), advance: (ms: number) => clock.advance(ms) },
    drain: () => drain(stepping.resolve(LocalEngine)),
  });
}

async function drain(engine: LocalEngine): Promise<void> {
  const { store, clock, leaseMs, stepQueues, queryBack } = engine;
  const questions = engine.queryBackQueues();
  const open = engine.opener({ slots: new Slots(Number.POSITIVE_INFINITY), serves: (queue) => stepQueues.includes(queue) });
  for (let found = true; found; ) {
    found = false;
    for (const queue of [...stepQueues, ...questions]) {
      const sentAt = clock.monotonicMs();
      const jobs = await store.claimDue({ queue, limit: BATCH, leaseMs });
      found ||= jobs.length > 0;
      await Promise.all(jobs.map((job) => (questions.includes(queue) ? queryBack.resolve(job) : open(job, sentAt).run())));
    }
  }
}
