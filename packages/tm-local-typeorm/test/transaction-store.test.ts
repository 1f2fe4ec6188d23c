import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type TestService, testService } from '@stepping/test-services';
import { describeTransactionStore, type TransactionStoreHarness } from '@stepping/tm-local/testing';
import { transactionalClone } from '@stepping/typeorm';
import { DataSource } from 'typeorm';
import { openStore } from './a-store.js';

const postgres = await testService('postgres');
const mysqls = [await testService('mariadb'), await testService('mysql')];

describeTransactionStore('typeormStore on SQLite', openSqlite, { concurrentWriters: false });

postgres.describe('with a PostgreSQL server', () => {
  describeTransactionStore('typeormStore on PostgreSQL', openPostgres);
});

for (const service of mysqls) {
  service.describe(`with a ${service.name} server`, () => {
    describeTransactionStore(`typeormStore on ${service.name}`, () => openMysql(service));
  });
}

async function openSqlite(): Promise<TransactionStoreHarness> {
  const folder = mkdtempSync(join(tmpdir(), 'stepping-store-'));
  const database = join(folder, 'jobs.sqlite');
  const dataSources = [new DataSource({ type: 'better-sqlite3', database }), new DataSource({ type: 'better-sqlite3', database })] as const;
  const harness = await openHarness(dataSources, (gid, ms) =>
    dataSources[0].query(
      'update stepping_job set due_at = due_at - ?, created_at = created_at - ?, finished_at = finished_at - ? where gid = ?',
      [ms, ms, ms, gid],
    ),
  );
  return {
    ...harness,
    close: async () => {
      await harness.close();
      rmSync(folder, { recursive: true });
    },
  };
}

async function openPostgres(): Promise<TransactionStoreHarness> {
  const url = await postgres.database();
  const dataSources = [new DataSource({ type: 'postgres', url }), new DataSource({ type: 'postgres', url })] as const;
  return openHarness(dataSources, (gid, ms) =>
    dataSources[0].query(
      `update stepping_job set due_at = due_at - $1::bigint * interval '1 ms', created_at = created_at - $1::bigint * interval '1 ms', finished_at = finished_at - $1::bigint * interval '1 ms' where gid = $2`,
      [ms, gid],
    ),
  );
}

async function openMysql(service: TestService): Promise<TransactionStoreHarness> {
  const url = await service.database();
  const dataSources = [new DataSource({ type: 'mariadb', url }), new DataSource({ type: 'mysql', url })] as const;
  return openHarness(dataSources, (gid, ms) =>
    dataSources[0].query(
      `update stepping_job set due_at = due_at - interval ? * 1000 microsecond, created_at = created_at - interval ? * 1000 microsecond, finished_at = finished_at - interval ? * 1000 microsecond where gid = ?`,
      [ms, ms, ms, gid],
    ),
  );
}

/** Two stores on two DataSources of one database. */
async function openHarness(
  [dataSource, secondDataSource]: readonly [DataSource, DataSource],
  age: (gid: string, ms: number) => Promise<unknown>,
): Promise<TransactionStoreHarness> {
  await dataSource.initialize();
  await secondDataSource.initialize();
  const store = openStore({ dataSource });
  const second = openStore({ dataSource: secondDataSource });
  await store.start();
  await second.start();
  // As inTransaction() does it: on SQLite, a connection that is for transactions alone.
  const clone = dataSource.options.type === 'better-sqlite3' ? await transactionalClone(dataSource) : undefined;
  return {
    store,
    second,
    age: async (gid, ms) => {
      await age(gid, ms);
    },
    clear: async () => {
      await dataSource.query('delete from stepping_job');
    },
    beginTransaction: async () => {
      const queryRunner = (clone?.dataSource ?? dataSource).createQueryRunner();
      await queryRunner.startTransaction(clone === undefined ? 'READ COMMITTED' : undefined);
      return {
        native: { kind: 'typeorm', handle: queryRunner },
        commit: async () => {
          await queryRunner.commitTransaction();
          await queryRunner.release();
        },
        rollback: async () => {
          await queryRunner.rollbackTransaction();
          await queryRunner.release();
        },
      };
    },
    close: async () => {
      await store.stop();
      await second.stop();
      await clone?.release();
      await dataSource.destroy();
      await secondDataSource.destroy();
    },
  };
}
