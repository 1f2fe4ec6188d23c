import { DbProviders, type DbRef, type DbTransaction, type Resolver, SteppingError } from '@stepping/core';
import { barrierKey, type MemoryDatabase, MemoryTransaction } from '../memory-database.js';
import { MEMORY_PROVIDER, MemoryDbProvider } from './memory-db.js';

/** Longest wait for a barrier key that is uncommitted elsewhere. Unit: ms. */
const LOCK_TIMEOUT_MS = 2_000;

/** A {@link DbTransaction} whose commit is the caller's own. */
export interface MemoryDbTransaction extends DbTransaction {
  commit(): Promise<void>;
  commitOutcome(error: unknown): 'not-committed' | 'unknown';
}

/**
 * Begins a business transaction in memory. Of a {@link memoryDb} in `use` it takes the two-phase path; of a {@link memoryStore} it is what its `enlist` takes, for tests of stores.
 *
 * @example
 * const orders = memoryDb(); // createStepping({ …, use: [orders] })
 * const transaction = memoryTransaction(orders);
 * await stepping.createJob({ transaction }).addStep(sendMail).start();
 */
export function memoryTransaction(of: { readonly database: MemoryDatabase }): MemoryDbTransaction {
  const { database } = of;
  const { barriers } = database;
  const transaction = new MemoryTransaction(database);

  return {
    native: { kind: 'memory', handle: transaction },
    ref: async (resolver) => refOf(database, resolver),
    isActive: () => transaction.state === 'open',
    async insertBarrier(gid, instance) {
      transaction.assertOpen();
      const key = barrierKey(gid, instance);
      const insert = () => {
        if (barriers.read(key, transaction)) return false;
        barriers.write(key, { gid, reason: 'msg', createdAt: database.clock.now() }, transaction);
        return true;
      };
      const inserted = await barriers.whenFree(key, LOCK_TIMEOUT_MS, insert, transaction);
      if (inserted === 'locked') throw new Error(`The barrier of ${gid} is locked by another transaction.`);
      return inserted;
    },
    async deleteBarrier(gid, instance) {
      transaction.assertOpen();
      barriers.write(barrierKey(gid, instance), undefined, transaction);
    },
    async commit() {
      transaction.end('committed');
    },
    // The only way to fail is a transaction that had ended before.
    commitOutcome: () => (transaction.state === 'committed' ? 'unknown' : 'not-committed'),
    async rollback() {
      transaction.end('rolled-back');
    },
    async close() {
      if (transaction.state === 'open') transaction.end('rolled-back');
    },
  };
}

function refOf(database: MemoryDatabase, resolver: Resolver): DbRef {
  const ref = { provider: MEMORY_PROVIDER, name: database.name };
  const provider = resolver.resolve(DbProviders).find(ref);
  if (!provider) {
    throw new SteppingError('DB_UNKNOWN', `Nothing serves the in-memory database '${ref.name}'. Add its memoryDb(…) to \`use\`.`, { ref });
  }
  if (!(provider instanceof MemoryDbProvider) || provider.database !== database) {
    throw new SteppingError(
      'DB_MISMATCH',
      `The in-memory database '${ref.name}' in \`use\` is another one than that of this transaction.`,
      { ref },
    );
  }
  return ref;
}
