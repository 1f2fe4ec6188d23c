import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { SteppingOptions } from '@stepping/core';
import type { TransactionManagerHarness } from '@stepping/core/testing';
import { mongooseDb, mongooseTransaction, once as onceOnMongoose, inTransaction as onMongoose } from '@stepping/db-mongoose';
import { once as onceOnTypeorm, inTransaction as onTypeorm, typeormDb, typeormTransaction } from '@stepping/db-typeorm';
import { type MemoryDbPlugin, memoryTransaction } from '@stepping/tm-local/testing';
import mongoose, { type Connection } from 'mongoose';
import { DataSource, type EntityManager, EntitySchema } from 'typeorm';

/** The half of a harness that is the user's database. */
export interface BusinessDatabase extends Omit<TransactionManagerHarness, 'openApp'> {
  /** New for each app. */
  use(): NonNullable<SteppingOptions['use']>;
}

interface Written {
  id: number;
  text: string;
}
const Written = new EntitySchema<Written>({
  name: 'written',
  columns: { id: { type: Number, primary: true, generated: true }, text: { type: String } },
});

export async function openSqlite(): Promise<DataSource> {
  const folder = mkdtempSync(join(tmpdir(), 'stepping-conformance-'));
  process.once('exit', () => rmSync(folder, { recursive: true, force: true }));
  return openTypeorm({ type: 'better-sqlite3', database: join(folder, 'business.sqlite'), enableWAL: true });
}

export function openTypeorm(
  options: { type: 'better-sqlite3'; database: string; enableWAL: true } | { type: 'postgres' | 'mariadb'; url: string },
) {
  return new DataSource({ ...options, entities: [Written], synchronize: true }).initialize();
}

export function typeormDatabase(dataSource: DataSource): BusinessDatabase {
  const writeBy = (manager: EntityManager) => async (text: string) => void (await manager.save(Written, { text }));
  return {
    use: () => [typeormDb({ dataSource })],
    inTransaction: (app, options, body) =>
      onTypeorm(app, { dataSource, ...options }, ({ job, manager }) => body({ job, write: writeBy(manager) })),
    async beginTransaction() {
      const runner = dataSource.createQueryRunner();
      await runner.startTransaction();
      const transaction = typeormTransaction(runner);
      return {
        transaction,
        write: writeBy(runner.manager),
        async end() {
          if (runner.isReleased) return;
          if (transaction.isActive()) await transaction.rollback();
          await runner.release();
        },
      };
    },
    once: (context, work) => onceOnTypeorm(dataSource, context, (manager) => work(writeBy(manager))),
    written: async () => (await dataSource.getRepository(Written).find()).map(({ text }) => text),
    close: () => dataSource.destroy(),
  };
}

export async function openMongo(url: string): Promise<Connection> {
  const connection = await mongoose.createConnection(url).asPromise();
  connection.model('Written', new mongoose.Schema({ text: { type: String, required: true } }));
  await connection.model('Written').createCollection();
  return connection;
}

export function mongooseDatabase(connection: Connection): BusinessDatabase {
  const Written = connection.model<{ text: string }>('Written');
  const writeIn = (session: mongoose.ClientSession) => async (text: string) => void (await Written.create([{ text }], { session }));
  return {
    use: () => [mongooseDb({ connection })],
    inTransaction: (app, options, body) =>
      onMongoose(app, { connection, ...options }, ({ job, session }) => body({ job, write: writeIn(session) })),
    async beginTransaction() {
      const session = await connection.startSession();
      session.startTransaction({ writeConcern: { w: 'majority' } });
      return { transaction: mongooseTransaction(session, connection), write: writeIn(session), end: () => session.endSession() };
    },
    once: (context, work) => onceOnMongoose(connection, context, (session) => work(writeIn(session))),
    written: async () => (await Written.find()).map(({ text }) => text),
    close: () => connection.close(true),
  };
}

export function memoryDatabase(plugin: MemoryDbPlugin): BusinessDatabase {
  const committed: string[] = [];
  const begin = () => {
    const transaction = memoryTransaction(plugin);
    const { handle } = transaction.native as { handle: { onEnd(ending: (committed: boolean) => void): void } };
    const write = async (text: string) => handle.onEnd((done) => void (done && committed.push(text)));
    return { transaction, write, end: () => transaction.close() };
  };
  return {
    use: () => [plugin],
    async inTransaction(app, options, body) {
      const { transaction, write, end } = begin();
      try {
        const job = app.createJob({ transaction, ...options });
        await body({ job, write });
        await (job.stepCount === 0 ? transaction.commit() : job.start());
      } finally {
        await end();
      }
    },
    beginTransaction: async () => begin(),
    written: async () => [...committed],
    close: async () => {},
  };
}
