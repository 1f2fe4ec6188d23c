import { completeLogger, type DbProviders, type Resolver } from '@stepping/core';
import { type DbProviderHarness, describeDbProvider } from '@stepping/core/testing';
import { barriersIn, keysOf } from '../src/barrier-collection.js';
import { mongooseTransaction } from '../src/index.js';
import { ledgerIn } from '../src/ledger-collection.js';
import { MongooseDbProvider } from '../src/mongoose-db-provider.js';
import { closeConnections, connected, mongodb } from './support/database.js';

/** A sweep does not reject: it warns. */
const log = completeLogger({
  ...console,
  warn(message, fields) {
    throw new Error(message, { cause: fields });
  },
});

mongodb.describe('on MongoDB', () => describeDbProvider('mongooseDb', openHarness));

async function openHarness(): Promise<DbProviderHarness> {
  const connection = await connected();
  const provider = new MongooseDbProvider({ connection });
  await provider.start();
  const providers: DbProviders = { add() {}, find: () => provider, all: () => [provider] };
  const resolver: Resolver = { resolve: () => providers as never };
  return {
    provider,
    ref: { provider: 'mongoose', name: 'default' },
    resolver,
    async beginTransaction() {
      const session = await connection.startSession();
      session.startTransaction({ writeConcern: { w: 'majority' } });
      return { transaction: mongooseTransaction(session, connection), end: () => session.endSession() };
    },
    async age(gid, ms) {
      const older = [{ $set: { created_at: { $subtract: ['$created_at', ms] } } }];
      await barriersIn(connection).updateMany({ _id: keysOf(gid) }, older);
      await ledgerIn(connection).updateMany({ _id: keysOf(gid) }, [{ $set: { due_at: { $subtract: ['$due_at', ms] } } }]);
    },
    sweep: () => provider.sweep({ retentionMs: provider.ledger.retentionMs, hasJob: async () => true }, log),
    async close() {
      provider.close();
      await closeConnections();
    },
  };
}
