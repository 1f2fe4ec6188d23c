import { MemoryDatabase, MemoryTransaction } from '../memory-database.js';
import { MemoryTransactionStore } from '../memory-store.js';
import type { TransactionStoreHarness } from './describe-transaction-store.js';

/** {@link MemoryTransactionStore} for `describeTransactionStore`: the simplest example of a harness. */
export function memoryHarness(database: MemoryDatabase = new MemoryDatabase('default')): TransactionStoreHarness {
  return {
    store: new MemoryTransactionStore(database),
    second: new MemoryTransactionStore(database),
    async beginTransaction() {
      const transaction = new MemoryTransaction(database);
      return {
        native: { kind: 'memory', handle: transaction },
        commit: async () => transaction.end('committed'),
        rollback: async () => transaction.end('rolled-back'),
      };
    },
    async age(gid, ms) {
      const row = database.jobs.read(gid);
      if (!row) return;
      const earlier = (at: number | undefined) => (at === undefined ? undefined : at - ms);
      database.jobs.write(gid, {
        ...row,
        createdAt: row.createdAt - ms,
        dueAt: earlier(row.dueAt),
        finishedAt: earlier(row.finishedAt),
        purgingSince: earlier(row.purgingSince),
      });
    },
    async clear() {
      for (const { gid } of database.jobs.rows()) database.jobs.write(gid, undefined);
    },
    close: async () => undefined,
  };
}
