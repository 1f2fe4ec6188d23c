import type { Shop, Told } from './shop.js';
import { ORDINARY, PLAIN } from './steps.js';

/** The moments of a service, counted from 1; one of them is waited for. */
export class Moments {
  readonly #stopAt: number;
  readonly #reached = Promise.withResolvers<void>();
  #passed = 0;

  constructor(stopAt: number) {
    this.#stopAt = stopAt;
  }

  readonly pass = (): void => {
    if (++this.#passed === this.#stopAt) this.#reached.resolve();
  };

  /** Resolves at the moment. */
  get reached(): Promise<void> {
    return this.#reached.promise;
  }

  /** False: all was done before it came. */
  get hasCome(): boolean {
    return this.#passed >= this.#stopAt;
  }
}

/** Starts a service and gives it work, until the moment comes or its own jobs are done; then stops it, and says how long that took. Unit: ms. */
export async function stopAt(
  moments: Moments,
  { stepping, order, start }: Shop,
  { told, name, drainTimeoutMs }: { told: Told[]; name: number; drainTimeoutMs: number },
): Promise<number> {
  const { promise: done, resolve: finish } = Promise.withResolvers<void>();
  const mine = new Set([`order-${name}`, `job-${name}`]);
  stepping.on('step.started', moments.pass);
  stepping.on('job.succeeded', ({ gid }) => {
    if (mine.delete(gid) && mine.size === 0) finish();
  });
  const work = async () => {
    await stepping.start();
    told.push(...(await Promise.all([order(`order-${name}`, ORDINARY), start(`job-${name}`, PLAIN)])));
  };
  // A start that was overtaken by the stop says so; what it would have begun was not.
  const working = work().catch(() => {});
  await Promise.race([moments.reached, done]);
  const since = performance.now();
  await stepping.stop({ drainTimeoutMs });
  const tookMs = Math.round(performance.now() - since);
  await working;
  return tookMs;
}
