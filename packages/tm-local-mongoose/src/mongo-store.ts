import { type InDoubtAnswer, SteppingError } from '@stepping/core';
import { within } from '@stepping/core/db';
import {
  type Change,
  type ChangeAnswer,
  type ClaimedJob,
  type CreateAnswer,
  type CreateJob,
  type EnlistedStore,
  type Lease,
  type PurgingJob,
  type Save,
  type StoredJob,
  type StoreFilter,
  type TransactionStore,
  WriteRefused,
} from '@stepping/tm-local';
import type { mongo } from 'mongoose';
import { changeStatement } from './change-statement.js';
import { Claims, nextDue } from './claims.js';
import { Creations } from './creations.js';
import { assertReplicaSet, assertSameDatabase, serverTime } from './deployment.js';
import { codeOf, isRefusal } from './driver-error.js';
import { DueHints } from './due-hints.js';
import { enlistedStore } from './enlisted-store.js';
import { DUE_INDEX, type JobCollection, storedJob } from './job-document.js';
import { finishPurge, listJobs, startPurge, statsOf } from './operators.js';
import { assertConnected, FROM_MAJORITY, ownClient } from './own-client.js';
import { saveStatement } from './save-statement.js';
import { type Collections, checkSchema, collectionsOf, migrateSchema } from './schema.js';
import { ServerClock } from './server-clock.js';
import type { StoreSettings } from './store-settings.js';
import { writeToken } from './write-token.js';

/**
 * What keeps jobs going is given up after this long and sent again: to the new primary, where the old one has fallen silent. (The driver would wait for that one for half a minute and more, and whatever
 * queues up behind it as well.) Longer than a majority may take, and a little more for each job of a batch. Unit: ms.
 */
const ANSWER_TIMEOUT_MS = 10_000;
const JOB_TIMEOUT_MS = 30;

/** What there is between start and stop. */
interface Opened {
  readonly client: mongo.MongoClient;
  readonly jobs: JobCollection;
  /** Through the user's client, for their sessions. */
  readonly usersClient: mongo.MongoClient;
  readonly usersJobs: JobCollection;
  readonly clock: ServerClock;
  readonly claims: Claims;
  readonly creations: Creations;
  readonly hints: DueHints;
}

/** Jobs in MongoDB, through a client of our own. */
export class MongoStore implements TransactionStore {
  readonly #settings: StoreSettings;
  #openedNow: Opened | undefined;
  /** What a write leaves where it matched. The same write sent again has the same one, so that it is known to have been done already. */
  readonly #tokens = new WeakMap<Save | Change, string>();

  constructor(settings: StoreSettings) {
    this.#settings = settings;
  }

  async start(): Promise<void> {
    const client = await this.#connect();
    try {
      const clock = new ServerClock();
      const { db, jobs, schema } = await this.#prepare(client, this.#settings.migrate ? migrateSchema : checkSchema, clock);
      const usersClient = this.#settings.connection.getClient();
      const users = collectionsOf(usersClient, db.databaseName, this.#settings.collectionPrefix);
      await assertSameDatabase(schema, users.schema);
      this.#openedNow = {
        client,
        jobs,
        usersClient,
        usersJobs: users.jobs,
        clock,
        claims: new Claims({ jobs, clock }),
        creations: new Creations(client, jobs),
        hints: new DueHints(jobs),
      };
    } catch (error) {
      await client.close();
      throw startError(error);
    }
  }

  async migrate(): Promise<void> {
    const client = await this.#connect();
    try {
      await this.#prepare(client, migrateSchema);
    } catch (error) {
      throw startError(error);
    } finally {
      await client.close();
    }
  }

  async stop(): Promise<void> {
    const opened = this.#openedNow;
    this.#openedNow = undefined;
    if (opened === undefined) return;
    await opened.hints.stop();
    await opened.client.close();
  }

  async create(jobs: readonly CreateJob[]): Promise<readonly CreateAnswer[]> {
    const { creations } = this.#opened;
    return jobs.length === 0 ? [] : within(timeoutMs(jobs.length), 'Storing jobs', () => creations.create(jobs));
  }

  async createAlone(job: CreateJob, waitMs: number): Promise<CreateAnswer> {
    const { creations } = this.#opened;
    return within(waitMs + ANSWER_TIMEOUT_MS, 'Storing a job', () => creations.createAlone(job, waitMs));
  }

  async save(saves: readonly Save[]): Promise<ReadonlySet<string>> {
    const { jobs } = this.#opened;
    if (saves.length === 0) return new Set();
    return within(timeoutMs(saves.length), 'A save', () => this.#save(jobs, saves));
  }

  async #save(jobs: JobCollection, saves: readonly Save[]): Promise<ReadonlySet<string>> {
    const statements = saves.map((save) => saveStatement(save, this.#tokenOf(save)));
    const { matchedCount } = await orRefused(jobs.bulkWrite(statements, { ordered: false }));
    if (matchedCount === saves.length) return gidsOf(saves);
    const rows = await byGids(jobs, saves, { projection: { saved: 1 }, ...FROM_MAJORITY });
    const written = new Map(rows.map(({ _id, saved }) => [_id, saved]));
    return gidsOf(saves.filter((save) => written.get(save.gid)?.includes(this.#tokenOf(save))));
  }

  async extend(leases: readonly Lease[], leaseMs: number): Promise<ReadonlySet<string>> {
    const { jobs } = this.#opened;
    if (leases.length === 0) return new Set();
    const due_at = { $add: ['$$NOW', Math.round(leaseMs)] };
    const statements = leases.map(({ gid, lease }) => ({ updateOne: { filter: { _id: gid, lease }, update: [{ $set: { due_at } }] } }));
    return within(leaseMs / 3, 'Renewing leases', async () => {
      const { matchedCount } = await orRefused(jobs.bulkWrite(statements, { ordered: false }));
      if (matchedCount === leases.length) return gidsOf(leases);
      // A lease never comes back: what still has it had it when it was extended.
      const held = new Map((await byGids(jobs, leases, { projection: { lease: 1 } })).map(({ _id, lease }) => [_id, lease]));
      return gidsOf(leases.filter(({ gid, lease }) => held.get(gid) === lease));
    });
  }

  async change(changes: readonly Change[]): Promise<readonly ChangeAnswer[]> {
    const { jobs } = this.#opened;
    return within(timeoutMs(changes.length), 'A change', () => this.#change(jobs, changes));
  }

  async #change(jobs: JobCollection, changes: readonly Change[]): Promise<readonly ChangeAnswer[]> {
    const answers = new Map<Change, ChangeAnswer>();
    // What is found after the write may be what it asks for, come there in between: then it is written again.
    for (let open = changes; open.length > 0; open = open.filter((change) => isOpen(change, answers.get(change)))) {
      for (const [i, answer] of (await this.#changeOnce(jobs, open)).entries()) answers.set(open[i] as Change, answer);
    }
    return changes.map((change) => answers.get(change) as ChangeAnswer);
  }

  async #changeOnce(jobs: JobCollection, changes: readonly Change[]): Promise<readonly ChangeAnswer[]> {
    const statements = changes.map((change) => changeStatement(change, this.#tokenOf(change)));
    await orRefused(jobs.bulkWrite(statements, { ordered: false }));
    const options = { projection: { status: 1, instance: 1, changed: 1 }, ...FROM_MAJORITY };
    const rows = new Map((await byGids(jobs, changes, options)).map((row) => [row._id, row]));
    return changes.map((change): ChangeAnswer => {
      const row = rows.get(change.gid);
      if (row === undefined) return { changed: false, found: undefined };
      const mine = row.changed?.find(({ by }) => by === this.#tokenOf(change));
      if (mine !== undefined) return { changed: true, lease: mine.lease };
      return { changed: false, found: { status: row.status, instance: row.instance } };
    });
  }

  async claimDue(claim: { queue: string; limit: number; leaseMs: number }): Promise<readonly ClaimedJob[]> {
    const { claims } = this.#opened;
    return within(timeoutMs(claim.limit), 'A claim', () => claims.claimDue(claim));
  }

  async nextDueInMs(queues: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const { jobs, clock } = this.#opened;
    const [first, ...others] = queues;
    if (first === undefined) return new Map();
    const pipeline = nextDue(jobs.collectionName, [first, ...others]);
    const options = { hint: DUE_INDEX, batchSize: queues.length + 1 };
    const ask = () => jobs.aggregate<{ queue: string; due_at: Date; now: Date }>(pipeline, options).toArray();
    const heads = await orUnavailable(within(ANSWER_TIMEOUT_MS, 'A look for due jobs', ask));
    for (const { now } of heads) clock.heard(now);
    return new Map(heads.map(({ queue, due_at, now }) => [queue, Math.max(0, due_at.getTime() - now.getTime())]));
  }

  async resolve(gid: string, instance: string): Promise<InDoubtAnswer> {
    return this.#openedNow?.creations.resolve(gid, instance) ?? 'unknown';
  }

  async find(gid: string): Promise<StoredJob | undefined> {
    const job = await orUnavailable(this.#opened.jobs.findOne({ _id: gid }, FROM_MAJORITY));
    return job === null ? undefined : storedJob(job);
  }

  async list(filter: StoreFilter): Promise<readonly StoredJob[]> {
    return orUnavailable(listJobs(this.#opened.jobs, filter));
  }

  async stats(): ReturnType<TransactionStore['stats']> {
    return orUnavailable(statsOf(this.#opened.jobs));
  }

  async startPurge(purge: { finishedMsAgo: number; failedMsAgo: number; limit: number }): Promise<readonly PurgingJob[]> {
    const { client, jobs } = this.#opened;
    return startPurge(jobs, purge, await serverTime(client));
  }

  async finishPurge(jobs: readonly Lease[]): Promise<number> {
    return finishPurge(this.#opened.jobs, jobs);
  }

  onDue(listener: () => void): () => void {
    return this.#opened.hints.onDue(listener);
  }

  enlist({ kind, handle }: { readonly kind: string; readonly handle: unknown }): EnlistedStore | undefined {
    const { usersClient, usersJobs, jobs } = this.#opened;
    if (kind !== 'mongoose') return undefined;
    const session = handle as (mongo.ClientSession & { readonly client?: unknown }) | undefined;
    // A transaction may write to every database of its client: the same client is the same transaction.
    return session?.client === usersClient ? enlistedStore(session, usersJobs, jobs) : undefined;
  }

  async #connect(): Promise<mongo.MongoClient> {
    const client = ownClient(this.#settings.connection);
    try {
      return await client.connect();
    } catch (cause) {
      await client.close();
      throw unreachable(cause);
    }
  }

  async #prepare(
    client: mongo.MongoClient,
    prepare: (collections: Collections) => Promise<void>,
    clock?: ServerClock,
  ): Promise<Collections> {
    const { connection, collectionPrefix } = this.#settings;
    assertConnected(connection);
    const collections = collectionsOf(client, connection.name, collectionPrefix);
    await assertReplicaSet(client);
    clock?.heard(await serverTime(client));
    await prepare(collections);
    return collections;
  }

  get #opened(): Opened {
    if (this.#openedNow !== undefined) return this.#openedNow;
    throw new SteppingError('NOT_STARTED', 'The store is not started, or stopped already. Call `await stepping.start()` first.');
  }

  #tokenOf(write: Save | Change): string {
    const known = this.#tokens.get(write);
    if (known !== undefined) return known;
    const token = writeToken();
    this.#tokens.set(write, token);
    return token;
  }
}

function timeoutMs(jobs: number): number {
  return ANSWER_TIMEOUT_MS + jobs * JOB_TIMEOUT_MS;
}

function isOpen({ from, instance }: Change, answer: ChangeAnswer | undefined): boolean {
  const found = answer?.changed === false ? answer.found : undefined;
  return found !== undefined && from.includes(found.status) && (instance === undefined || instance === found.instance);
}

function byGids(jobs: JobCollection, writes: readonly { readonly gid: string }[], options: mongo.FindOptions) {
  const gids = writes.map(({ gid }) => gid);
  return jobs
    .find({ _id: { $in: gids } }, options)
    .batchSize(gids.length + 1)
    .toArray();
}

function gidsOf(writes: readonly { readonly gid: string }[]): ReadonlySet<string> {
  return new Set(writes.map(({ gid }) => gid));
}

/**
 * Of an unordered bulk write of fenced updates: a statement that the server refused was not done. The others of the batch may have been; who splits it sends them again, and their tokens, or a
 * lease that is still the same, tell that they were.
 */
async function orRefused<R>(write: Promise<R>): Promise<R> {
  try {
    return await write;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    throw new WriteRefused(`MongoDB refused a write: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}

/** Of reads, which leave nothing behind. */
async function orUnavailable<R>(read: Promise<R>): Promise<R> {
  try {
    return await read;
  } catch (error) {
    throw isRefusal(error) ? error : unreachable(error);
  }
}

function startError(error: unknown): unknown {
  if (SteppingError.is(error)) return error;
  if (codeOf(error) === undefined || !isRefusal(error)) return unreachable(error);
  return new SteppingError(
    'STORE_REFUSED',
    `MongoDB refused the store's collections: ${error instanceof Error ? error.message : error}. Grant the user readWrite on the database, or let somebody who may create collections run stepping.migrate() and use migrate: false.`,
    { cause: error },
  );
}

function unreachable(cause: unknown): SteppingError {
  return new SteppingError(
    'STORE_UNAVAILABLE',
    'The MongoDB of the store cannot be reached, lets us not in, or has no primary. See the cause.',
    {
      cause,
    },
  );
}
