import { completeLogger, type DbProviders, type Resolver } from '@stepping/core';
import { type DbProviderHarness, describeDbProvider } from '@stepping/core/testing';
import { type Dialect, dialectOf } from '@stepping/typeorm';
import { typeormTransaction } from '../src/index.js';
import { TypeormDbProvider } from '../src/typeorm-db-provider.js';
import { mysqls, postgres, sqlite, sqliteWithoutWal, type TestDatabase } from './support/databases.js';

/** A sweep does not reject: it warns. */
const log = completeLogger({
  ...console,
  warn(message, fields) {
    throw new Error(message, { cause: fields });
  },
});

for (const database of [sqlite, sqliteWithoutWal, postgres, ...mysqls]) {
  database.describe(`on ${database.name}`, () => describeDbProvider('typeormDb', () => openHarness(database)));
}

async function openHarness(database: TestDatabase): Promise<DbProviderHarness> {
  const dataSource = await database.open();
  const provider = new TypeormDbProvider({ dataSource });
  await provider.start();
  const providers: DbProviders = { add() {}, find: () => provider, all: () => [provider] };
  const resolver: Resolver = { resolve: () => providers as never };
  return {
    provider,
    ref: { provider: 'typeorm', name: 'default' },
    resolver,
    async beginTransaction() {
      const runner = dataSource.createQueryRunner();
      await runner.startTransaction(isSqlite(database) ? undefined : 'READ COMMITTED');
      const transaction = typeormTransaction(runner);
      return {
        transaction,
        async end() {
          if (transaction.isActive()) await transaction.rollback();
          await runner.release();
        },
      };
    },
    async age(gid, ms) {
      await dataSource.query(AGE[dialectOf(dataSource)], [ms, gid]);
      await dataSource.query(AGE_LEDGER[dialectOf(dataSource)], [ms, gid]);
    },
    sweep: () => provider.sweep({ retentionMs: provider.ledger.retentionMs, hasJob: async () => true }, log),
    async close() {
      await provider.close();
      await dataSource.destroy();
    },
  };
}

function isSqlite(database: TestDatabase): boolean {
  return database === sqlite || database === sqliteWithoutWal;
}

const AGE: Record<Dialect, string> = {
  postgres: "update stepping_barrier set created_at = created_at - $1 * interval '1 ms' where gid = $2",
  mysql: 'update stepping_barrier set created_at = created_at - interval ? * 1000 microsecond where gid = ?',
  sqlite:
    "update stepping_barrier set created_at = strftime('%Y-%m-%dT%H:%M:%fZ', created_at, '-' || (? / 1000.0) || ' seconds') where gid = ?",
};

const AGE_LEDGER: Record<Dialect, string> = {
  postgres: "update stepping_ledger set due_at = due_at - $1 * interval '1 ms' where gid = $2",
  mysql: 'update stepping_ledger set due_at = due_at - interval ? * 1000 microsecond where gid = ?',
  sqlite: 'update stepping_ledger set due_at = due_at - ? where gid = ?',
};
