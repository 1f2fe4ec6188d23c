import { afterEach, describe, expect, it } from '@jest/globals';
import { type AnyStep, createStepping, defineStep, type Stepping } from '@stepping/core';
import { Clock, localTm, memoryStore, Store, type StorePlugin, type TransactionStore } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { type VirtualClock, virtualClock } from '../../tm-local/src/testing/virtual-clock.js';

const LEASE_MS = 2_000;
const PROCESSES = 2;
const CONCURRENCY = 16;
/** How often it is looked what became of the jobs. Unit: ms. */
const LOOK_MS = 100;

/** When a call of the store is done that is sent now and is about so many rows. On the monotonic clock. Unit: ms. */
type DoneAt = (rows: number, now: number) => number;

/** Each call by itself. */
const after =
  (ms: number): DoneAt =>
  (_rows, now) =>
    now + ms;

/** One call after the other, as on a server whose disk is busy. */
function inTurn(takesMs: (rows: number, now: number) => number): DoneAt {
  let freeAt = 0;
  return (rows, now) => {
    freeAt = Math.max(now, freeAt) + takesMs(rows, now);
    return freeAt;
  };
}

/** A store that does late what it is told. */
class SlowStore {
  readonly #store: TransactionStore;
  readonly #clock: VirtualClock;
  readonly #doneAt: DoneAt;

  constructor(store: TransactionStore, clock: VirtualClock, doneAt: DoneAt) {
    this.#store = store;
    this.#clock = clock;
    this.#doneAt = doneAt;
  }

  readonly claimDue: TransactionStore['claimDue'] = async (claim) => {
    await this.#wait(claim.limit);
    return this.#store.claimDue(claim);
  };

  readonly save: TransactionStore['save'] = async (saves) => {
    await this.#wait(saves.length);
    return this.#store.save(saves);
  };

  readonly extend: TransactionStore['extend'] = async (leases, leaseMs) => {
    const sentAt = this.#clock.monotonicMs();
    await this.#wait(leases.length);
    const kept = await this.#store.extend(leases, leaseMs);
    if (this.#clock.monotonicMs() - sentAt > leaseMs / 3) throw new Error('a renewal was given up');
    return kept;
  };

  async #wait(rows: number): Promise<void> {
    const now = this.#clock.monotonicMs();
    await new Promise<void>((resolve) => this.#clock.setTimeout(resolve, this.#doneAt(rows, now) - now));
  }
}

function slowed(plugin: StorePlugin, clock: VirtualClock, doneAt: DoneAt): StorePlugin {
  return {
    ...plugin,
    register(registry) {
      plugin.register?.({
        provide: (injectable, factory) =>
          registry.provide(injectable, (r) => {
            const made = factory(r);
            if ((injectable as unknown) !== Store) return made;
            const store = made as TransactionStore;
            const slow = new SlowStore(store, clock, doneAt);
            return new Proxy(store, {
              get(_, name) {
                const member = (name in slow ? slow[name as keyof SlowStore] : store[name as keyof TransactionStore]) as unknown;
                return typeof member === 'function' ? member.bind(store) : member;
              },
            }) as never;
          }),
      });
    },
  };
}

const apps: Stepping[] = [];
let clock = virtualClock();

async function app(steps: readonly AnyStep[], store: StorePlugin, works: boolean): Promise<Stepping> {
  const tm = localTm({ store, leaseMs: LEASE_MS, processor: works && hostedProcessor({ concurrency: CONCURRENCY }) });
  const stepping = createStepping({
    steps,
    tm: {
      ...tm,
      register(registry) {
        tm.register?.(registry);
        registry.provide(Clock, () => clock);
      },
    },
  });
  apps.push(stepping);
  await stepping.start();
  return stepping;
}

afterEach(async () => {
  const stopped = Promise.all(apps.splice(0).map((stepping) => stepping.stop({ drainTimeoutMs: 0 })));
  await clock.advance(2 * LEASE_MS);
  await stopped;
  clock = virtualClock();
});

/** Jobs of three steps, worked at by several processes for as long as given. */
async function drained(jobs: number, doneAt: DoneAt, forMs: number) {
  const calls: string[] = [];
  const steps = ['one', 'two', 'three'].map((name) =>
    defineStep({ name, run: async ({ idempotencyKey }) => void calls.push(idempotencyKey) }),
  );
  const store = memoryStore();
  const starter = await app(steps, store, false);
  await Promise.all(Array.from({ length: jobs }, () => steps.reduce((job, step) => job.addStep(step), starter.createJob()).start()));
  const slow = slowed(store, clock, doneAt);
  let lost = 0;
  for (let i = 0; i < PROCESSES; i++) (await app(steps, slow, true)).on('job.lease-lost', () => lost++);
  let open = jobs;
  for (let ms = 0; ms < forMs && open > 0; ms += LOOK_MS) {
    await clock.advance(LOOK_MS);
    open = (await starter.jobs.stats()).submitted;
  }
  return { open, lost, repeated: calls.length - new Set(calls).size };
}

describe('processors of a store that is slow for their lease', () => {
  it('repeat no step and lose no job while each answer takes nearly half a lease', async () => {
    expect(await drained(500, after(LEASE_MS * 0.45), 50_000)).toEqual({ open: 0, lost: 0, repeated: 0 });
  });

  it('work off what they had claimed while it was fast, each step once', async () => {
    const perRow = inTurn((rows, now) => (now < 50 ? 1 : 5 + rows * 2));
    expect(await drained(1_000, perRow, 60_000)).toEqual({ open: 0, lost: 0, repeated: 0 });
  });

  it('come to an end where every call costs it a fifth of a second, whatever else it does', async () => {
    const perCall = inTurn((rows, now) => (now < 50 ? 1 : 200 + rows * 2));
    expect(await drained(600, perCall, 120_000)).toEqual({ open: 0, lost: 0, repeated: 0 });
  });
});
