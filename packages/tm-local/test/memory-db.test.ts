import { describe, expect, it } from '@jest/globals';
import type { DbProvider, Resolver } from '@stepping/core';
import { describeDbProvider } from '@stepping/core/testing';
import { memoryStore } from '../src/index.js';
import { MemoryDatabase } from '../src/memory-database.js';
import { memoryTransaction } from '../src/testing/index.js';
import { MemoryDbProvider } from '../src/testing/memory-db.js';

function resolverOf(...providers: DbProvider[]): Resolver {
  const dbProviders = {
    add() {},
    all: () => providers,
    find: ({ name }: { name: string }) => providers.find((provider) => provider.name === name),
  };
  return { resolve: () => dbProviders as never };
}

describeDbProvider('memoryDb', async () => {
  const database = new MemoryDatabase('orders');
  const provider = new MemoryDbProvider(database);
  return {
    provider,
    ref: { provider: 'memory', name: 'orders' },
    resolver: resolverOf(provider),
    async beginTransaction() {
      const transaction = memoryTransaction({ database });
      return { transaction, end: () => transaction.close() };
    },
    async age(gid, ms) {
      for (const [key, row] of database.barriers.entries()) {
        if (row.gid === gid) database.barriers.write(key, { ...row, createdAt: row.createdAt - ms });
      }
    },
    close: async () => undefined,
  };
});

describe('memoryTransaction', () => {
  it('names no database that the app does not serve', async () => {
    const transaction = memoryTransaction(memoryStore());
    await expect(transaction.ref(resolverOf())).rejects.toMatchObject({ code: 'DB_UNKNOWN' });
  });

  it('names no database of the same name that is another one', async () => {
    const transaction = memoryTransaction({ database: new MemoryDatabase('orders') });
    const other = new MemoryDbProvider(new MemoryDatabase('orders'));
    await expect(transaction.ref(resolverOf(other))).rejects.toMatchObject({ code: 'DB_MISMATCH' });
  });

  it('ends once', async () => {
    const transaction = memoryTransaction(memoryStore());
    await transaction.commit();
    expect(transaction.isActive()).toBe(false);
    await expect(transaction.commit()).rejects.toThrow('committed');
    await expect(transaction.insertBarrier('job', 'instance')).rejects.toThrow('committed');
    await transaction.close();
  });

  it('may insert a barrier again that it deleted, and leaves none if it deleted it last', async () => {
    const database = new MemoryDatabase('orders');
    const provider = new MemoryDbProvider(database);
    const ref = { provider: 'memory', name: 'orders' };
    const transaction = memoryTransaction({ database });
    await transaction.insertBarrier('job', 'instance');
    await transaction.deleteBarrier('job', 'instance');
    expect(await transaction.insertBarrier('job', 'instance')).toBe(true);
    await transaction.deleteBarrier('job', 'instance');
    await transaction.commit();
    expect(await provider.resolveInDoubt('job', 'instance', ref)).toBe('rolled-back');
  });
});
