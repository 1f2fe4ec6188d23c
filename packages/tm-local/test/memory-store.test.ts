import { describe, expect, it } from '@jest/globals';
import { Clock, type MemoryStorePlugin, memoryStore, Store, systemClock, type TransactionStore } from '../src/index.js';
import { describeTransactionStore, memoryTransaction, virtualClock } from '../src/testing/index.js';
import { memoryHarness } from '../src/testing/memory-harness.js';

describeTransactionStore('memoryStore', async () => memoryHarness());

function storeOf(plugin: MemoryStorePlugin, clock: Clock = systemClock): TransactionStore {
  const stores: TransactionStore[] = [];
  const resolver = { resolve: (token: unknown) => (token === Clock ? clock : undefined) as never };
  plugin.register?.({
    provide: (token, factory) => void ((token as unknown) === Store && stores.push(factory(resolver) as TransactionStore)),
  });
  return stores[0] as TransactionStore;
}

const aJob = {
  gid: 'job',
  instance: 'instance',
  status: 'submitted',
  queue: 'default',
  tenant: undefined,
  db: undefined,
  steps: '{"v":1,"steps":[{"n":"first"}]}',
  lease: 1,
  held: false,
  dueInMs: 60_000,
} as const;
const claim = { queue: 'default', limit: 1, leaseMs: 10_000 };

describe('memoryStore', () => {
  it('shares its jobs with every app that is given the same value, and with no other', async () => {
    const plugin = memoryStore();
    await storeOf(plugin).create([aJob]);
    expect((await storeOf(plugin).find('job'))?.instance).toBe('instance');
    expect(await storeOf(memoryStore()).find('job')).toBeUndefined();
  });

  it('goes by the clock of its app', async () => {
    const clock = virtualClock(new Date(0));
    const store = storeOf(memoryStore(), clock);
    await store.create([aJob]);
    await clock.advance(59_999);
    expect(await store.claimDue(claim)).toEqual([]);
    await clock.advance(1);
    expect(await store.claimDue(claim)).toMatchObject([{ gid: 'job', ageMs: 60_000 }]);
  });

  it('enlists in its own transactions, and in those of no other store', () => {
    const [plugin, other] = [memoryStore(), memoryStore()];
    const store = storeOf(plugin);
    expect(store.enlist?.(memoryTransaction(plugin).native)).toBeDefined();
    expect(store.enlist?.(memoryTransaction(other).native)).toBeUndefined();
  });
});
