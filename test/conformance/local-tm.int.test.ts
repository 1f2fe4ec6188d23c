import { createStepping } from '@stepping/core';
import { describeTransactionManager, type TransactionManagerHarness } from '@stepping/core/testing';
import { testService } from '@stepping/test-services';
import { localTm, memoryStore, type StorePlugin } from '@stepping/tm-local';
import { memoryDb } from '@stepping/tm-local/testing';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { mongooseStore } from '@stepping/tm-local-mongoose';
import { typeormStore } from '@stepping/tm-local-typeorm';
import {
  type BusinessDatabase,
  memoryDatabase,
  mongooseDatabase,
  openMongo,
  openSqlite,
  openTypeorm,
  typeormDatabase,
} from './business-database.js';

const postgres = await testService('postgres');
const mongodb = await testService('mongodb');

/** Jobs in `store`, a plugin for each app. */
function harnessOf(
  database: BusinessDatabase,
  store: () => StorePlugin,
  close: () => Promise<unknown> = async () => {},
): TransactionManagerHarness {
  return {
    ...database,
    async openApp(options) {
      const tm = localTm({ store: store(), processor: hostedProcessor({ maxPollMs: 50 }), prepareTimeoutMs: 300 });
      const app = createStepping({ ...options, tm, use: [database.use()] });
      await app.start();
      return app;
    },
    async close() {
      await database.close();
      await close();
    },
  };
}

describeTransactionManager('localTm in memory', async () => {
  const store = memoryStore();
  return harnessOf(memoryDatabase(memoryDb()), () => store);
});

describeTransactionManager('localTm on SQLite, with another file', async () => {
  const [jobs, business] = [await openSqlite(), await openSqlite()];
  return harnessOf(
    typeormDatabase(business),
    () => typeormStore({ dataSource: jobs }),
    () => jobs.destroy(),
  );
});

postgres.describe('on PostgreSQL', () => {
  describeTransactionManager('localTm, with another database', async () => {
    const [jobs, business] = [await openPostgres('jobs'), await openPostgres('business')];
    return harnessOf(
      typeormDatabase(business),
      () => typeormStore({ dataSource: jobs }),
      () => jobs.destroy(),
    );
  });

  describeTransactionManager('localTm, in the same database', async () => {
    const dataSource = await openPostgres('both');
    return harnessOf(typeormDatabase(dataSource), () => typeormStore({ dataSource }));
  });
});

mongodb.describe('on MongoDB', () => {
  describeTransactionManager('localTm, with another database', async () => {
    const [jobs, business] = [await openMongo(await mongodb.database('jobs')), await openMongo(await mongodb.database('business'))];
    return harnessOf(
      mongooseDatabase(business),
      () => mongooseStore({ connection: jobs }),
      () => jobs.close(true),
    );
  });

  describeTransactionManager('localTm, in the same database', async () => {
    const connection = await openMongo(await mongodb.database('both'));
    return harnessOf(mongooseDatabase(connection), () => mongooseStore({ connection }));
  });
});

async function openPostgres(label: string) {
  return openTypeorm({ type: 'postgres', url: await postgres.database(label) });
}
