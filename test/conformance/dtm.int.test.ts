import { createServer, type RequestListener } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createStepping, nodeHandler } from '@stepping/core';
import { describeTransactionManager, type TransactionManagerHarness } from '@stepping/core/testing';
import { startDtm, testService } from '@stepping/test-services';
import { dtm } from '@stepping/tm-dtm';
import { type BusinessDatabase, mongooseDatabase, openMongo, openSqlite, openTypeorm, typeormDatabase } from './business-database.js';

const service = await testService('dtm-own');
const postgres = await testService('postgres');
const mariadb = await testService('mariadb');
const mongodb = await testService('mongodb');
const server = service.available ? await startDtm() : undefined;

/** What DTM cannot do. docs/dtm.md says why. */
const cannot = ['revive', 'cancel', 'purge', 'stats', 'list-by-step'] as const;

/** All apps of a harness are behind one callback URL, which leads to the one that was started last. */
async function harnessOf(database: BusinessDatabase): Promise<TransactionManagerHarness> {
  let serve: RequestListener = (_, response) => void response.writeHead(503).end();
  const callbacks = createServer((request, response) => serve(request, response));
  await new Promise<void>((resolve) => callbacks.listen(0, '127.0.0.1', resolve));
  const callbackUrl = `http://127.0.0.1:${(callbacks.address() as AddressInfo).port}/stepping`;
  return {
    ...database,
    async openApp(options) {
      const tm = dtm({
        serverUrl: server?.url ?? '',
        callbackUrl,
        secret: 'of this test',
        retryIntervalMs: 1_000,
        requestTimeoutMs: 2_000,
      });
      const app = createStepping({ ...options, tm, use: [database.use()] });
      serve = nodeHandler(app);
      await app.start();
      return app;
    },
    async close() {
      callbacks.closeAllConnections();
      await new Promise((resolve) => callbacks.close(resolve));
      await database.close();
    },
  };
}

service.describe(`dtm (${server?.version})`, () => {
  describeTransactionManager('with orders in SQLite', async () => harnessOf(typeormDatabase(await openSqlite())), { cannot });

  postgres.describe('on PostgreSQL', () => {
    const open = async () => harnessOf(typeormDatabase(await openTypeorm({ type: 'postgres', url: await postgres.database() })));
    describeTransactionManager('with orders in PostgreSQL', open, { cannot });
  });

  mariadb.describe('on MariaDB', () => {
    const open = async () => harnessOf(typeormDatabase(await openTypeorm({ type: 'mariadb', url: await mariadb.database() })));
    describeTransactionManager('with orders in MariaDB', open, { cannot });
  });

  mongodb.describe('on MongoDB', () => {
    const open = async () => harnessOf(mongooseDatabase(await openMongo(await mongodb.database())));
    describeTransactionManager('with orders in MongoDB', open, { cannot });
  });
});
