import { AsyncLocalStorage } from 'node:async_hooks';
import type { StepContext, Stepping, SteppingPlugin } from '@stepping/core';
import { inTransaction, mongooseDb, mongooseTransaction, once } from '@stepping/db-mongoose';
import { testService } from '@stepping/test-services';
import type { StorePlugin } from '@stepping/tm-local';
import { mongooseStore } from '@stepping/tm-local-mongoose';
import { type ClientSession, type Connection, createConnection, mongo } from 'mongoose';
import { ConnectionLost } from './accidents.js';
import type {
  Body,
  Broken,
  Business,
  Database,
  DatabaseKind,
  Jobs,
  OnceBoundary,
  OnHandle,
  ProcessDatabase,
  UsersTransaction,
} from './databases.js';

export const mongodb: DatabaseKind = { isServer: true, repeats: true, open: openMongodb };

const LONG_AGO = new Date('2000-01-01');
/** For a write of the harness itself that a transaction is in the way of. Unit: ms. */
const LOCK_TIMEOUT_MS = 1_000;
const MAX_TIME_EXPIRED = 50;

async function openMongodb(label: string): Promise<Database> {
  const url = await (await testService('mongodb')).database(label);
  const own = await createConnection(url).asPromise();
  return {
    jobs: jobsIn(own),
    ledger: ledgerIn(own),
    business: businessIn(own),
    open: async (appName) => new MongooseProcessDatabase(await createConnection(url, { appName }).asPromise()),
    close: () => own.close(true),
  };
}

function jobsIn(connection: Connection): Jobs {
  const jobs = connection.collection('stepping_job');
  return {
    clear: async () => void (await jobs.deleteMany({})),
    async makeDue(gid, lease) {
      const filter = { _id: gid as never, due_at: { $exists: true }, ...(lease === undefined ? {} : { lease }) };
      await jobs.updateOne(filter, [{ $set: { due_at: '$$NOW' } }]);
    },
    age: () => unlessLocked(jobs, { finished_at: { $exists: true } }, { finished_at: LONG_AGO }),
  };
}

function ledgerIn(connection: Connection): Database['ledger'] {
  const ledger = connection.collection('stepping_ledger');
  return {
    clear: async () => void (await ledger.deleteMany({ _id: { $ne: '~version' as never } })),
    async makeDue(gid) {
      const ofGid = { $gte: `${gid}/`, $lt: `${gid}0` } as never;
      await ledger.updateMany({ _id: ofGid, held: 1 }, [{ $set: { due_at: '$$NOW' } }]);
    },
  };
}

function businessIn(connection: Connection): Business {
  const barriers = connection.collection('stepping_barrier');
  const deeds = connection.collection('deed');
  const all = { _id: { $ne: '~version' as never } };
  const ofGid = (gid: string) => ({ _id: { $gte: `${gid}/`, $lt: `${gid}0` } as never });
  return {
    setUp: async () => void (await connection.createCollection('deed')),
    clear: async () => void (await barriers.deleteMany(all)),
    age: () => unlessLocked(barriers, all, { created_at: LONG_AGO }),
    barriersOf: (gid) => barriers.countDocuments(ofGid(gid)),
    deedsOf: async (gid) => (await deeds.find(ofGid(gid)).toArray()).map(({ _id }) => String(_id)),
  };
}

async function unlessLocked(collection: ReturnType<Connection['collection']>, filter: object, fields: object): Promise<boolean> {
  try {
    await collection.updateMany(filter, { $set: fields }, { maxTimeMS: LOCK_TIMEOUT_MS });
    return true;
  } catch (error) {
    if ((error as { code?: unknown }).code === MAX_TIME_EXPIRED) return false;
    throw error;
  }
}

class MongooseProcessDatabase implements ProcessDatabase {
  readonly hasConnections = true;
  readonly #connection: Connection;
  /** Those that may have a transaction, and their real commits. */
  readonly #sessions = new Map<ClientSession, () => Promise<void>>();
  readonly #losing = new WeakMap<ClientSession, 'done' | 'not done'>();

  constructor(connection: Connection) {
    this.#connection = connection;
    const client = connection.getClient();
    const startSession = client.startSession.bind(client);
    client.startSession = (options) => {
      const session = startSession(options);
      if ((options as { explicit?: boolean } | undefined)?.explicit !== false) this.#watch(session);
      return session;
    };
  }

  storePlugin(): StorePlugin {
    return mongooseStore({ connection: this.#connection });
  }

  dbPlugin(): SteppingPlugin {
    return mongooseDb({ connection: this.#connection });
  }

  async inTransaction(stepping: Stepping, { gid, deed, begins, addSteps }: Body): Promise<void> {
    await inTransaction(stepping, { connection: this.#connection, gid }, async ({ session, job }) => {
      begins();
      await this.#doDeed(session, deed);
      addSteps(job);
    });
  }

  async begin(deed: string): Promise<UsersTransaction> {
    const session = await this.#connection.startSession();
    session.startTransaction({ writeConcern: { w: 'majority' } });
    await this.#doDeed(session, deed);
    return {
      handle: session,
      transaction: mongooseTransaction(session, this.#connection),
      commit: () => session.commitTransaction(),
      rollback: () => session.abortTransaction(),
      async release() {
        if (session.inTransaction()) await session.abortTransaction().catch(() => {});
        await session.endSession().catch(() => {});
      },
    };
  }

  async once(context: StepContext<any, any>, deed: string, { work, commit }: OnceBoundary): Promise<void> {
    await insideOnce.run(commit, () => once(this.#connection, context, (session) => work(() => this.#doDeed(session, deed), session)));
  }

  /** The driver says of a statement that the transaction may be run again; of a commit that was repeated in vain, it gives up. */
  breakConnection(handle: unknown, call: string): Broken {
    const session = handle as ClientSession;
    const message = `The connection broke at ${call}`;
    if (!call.endsWith('.commit')) {
      const error = labelled(message, 'TransientTransactionError');
      return { error, commit: async () => {}, end: () => endOnServer(session) };
    }
    outcomeIsUnknown(session);
    // The number of the transaction is needed until all is over.
    const endSession = session.endSession.bind(session);
    session.endSession = async () => {};
    return {
      error: new ConnectionLost(message),
      commit: async () => this.#sessions.get(session)?.().finally(endSession),
      end: () => endOnServer(session).finally(endSession),
    };
  }

  endTransaction(handle: unknown): Promise<void> {
    return endOnServer(handle as ClientSession);
  }

  losesCommit(handle: unknown, how: 'done' | 'not done'): void {
    this.#losing.set(handle as ClientSession, how);
  }

  /** The server keeps the transactions of a process that is gone for a minute; that minute is over at once. */
  async cut(): Promise<void> {
    await Promise.all(Array.from(this.#sessions.keys(), endOnServer));
    await this.close();
  }

  async close(): Promise<void> {
    await this.#connection.close(true).catch(() => {});
  }

  #watch(session: ClientSession): void {
    const commit = session.commitTransaction.bind(session);
    this.#sessions.set(session, commit);
    session.once('ended', () => this.#sessions.delete(session));
    session.commitTransaction = () => {
      const real = () => this.#commit(session, commit);
      return insideOnce.getStore()?.(real, session) ?? real();
    };
  }

  async #commit(session: ClientSession, commit: () => Promise<void>): Promise<void> {
    const losing = this.#losing.get(session);
    this.#losing.delete(session);
    if (losing !== 'not done') await commit();
    if (losing === undefined) return;
    outcomeIsUnknown(session);
    throw labelled('The connection broke at a commit', 'UnknownTransactionCommitResult');
  }

  async #doDeed(session: ClientSession, id: string): Promise<void> {
    await this.#connection.collection('deed').insertOne({ _id: id as never }, { session });
  }
}

const insideOnce = new AsyncLocalStorage<OnHandle>();

interface SessionInternals {
  readonly transaction: { readonly state: string; transition(state: string): void };
}

/** As the driver leaves a session whose commit was not answered. */
function outcomeIsUnknown(session: ClientSession): void {
  if (session.inTransaction()) (session as unknown as SessionInternals).transaction.transition('TRANSACTION_COMMITTED');
}

/** Behind the back of the session, which thinks that its transaction is open still. */
async function endOnServer(session: ClientSession): Promise<void> {
  const { state } = (session as unknown as SessionInternals).transaction;
  if (state !== 'TRANSACTION_IN_PROGRESS' && state !== 'TRANSACTION_COMMITTED') return;
  const admin = (session as unknown as { readonly client: mongo.MongoClient }).client.db('admin');
  await admin.command({ abortTransaction: 1 }, { session }).catch(() => {}); // it has ended, or the client is closed
}

function labelled(message: string, label: string): Error {
  const error = new mongo.MongoNetworkError(message);
  error.addErrorLabel(label);
  return error;
}
