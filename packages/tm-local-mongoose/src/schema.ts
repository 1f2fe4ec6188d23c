import { SteppingError } from '@stepping/core';
import type { mongo } from 'mongoose';
import { isDuplicateKey } from './driver-error.js';
import { DUE_INDEX, type JobCollection, type JobDocument } from './job-document.js';
import { OWN_OPTIONS } from './own-client.js';

/** What the collections look like; raised with the next change of them. */
const VERSION = 1;
const VERSION_ID = 'store';

/** Beside the jobs: what they look like. */
export interface SchemaDocument {
  readonly _id: string;
  readonly version?: number;
}

/** The collections of a store, in one database, by one client. */
export interface Collections {
  readonly db: mongo.Db;
  readonly jobs: JobCollection;
  readonly schema: mongo.Collection<SchemaDocument>;
}

export function collectionsOf(client: mongo.MongoClient, database: string, prefix: string): Collections {
  const db = client.db(database);
  return {
    db,
    jobs: db.collection<JobDocument>(`${prefix}job`, OWN_OPTIONS),
    schema: db.collection<SchemaDocument>(`${prefix}schema`, OWN_OPTIONS),
  };
}

/**
 * Makes collections and index, before any transaction needs them. Every step of it may be repeated, so several processes may do it at once.
 *
 * @throws {@link SteppingError} `STORE_REFUSED`
 */
export async function migrateSchema(collections: Collections): Promise<void> {
  const { db, jobs, schema } = collections;
  assertNotNewer(await versionOf(schema));
  for (const { collectionName } of [jobs, schema]) await createIfMissing(db, collectionName);
  await assertPlain(collections);
  await jobs.createIndex({ queue: 1, due_at: 1 }, { name: DUE_INDEX, partialFilterExpression: { due_at: { $exists: true } } });
  await schema.insertOne({ _id: VERSION_ID, version: VERSION }).catch((error: unknown) => {
    if (!isDuplicateKey(error)) throw error; // it is there, or another process was first
  });
}

async function createIfMissing(db: mongo.Db, name: string): Promise<void> {
  const isThere = () => db.listCollections({ name }, { nameOnly: true }).hasNext();
  if (await isThere()) return;
  await db.createCollection(name, { writeConcern: { w: 'majority' } }).catch(async (error: unknown) => {
    if (!(await isThere())) throw error; // else another process was first
  });
}

/** What {@link migrateSchema} would do is done already. */
export async function checkSchema(collections: Collections): Promise<void> {
  const version = await versionOf(collections.schema);
  assertNotNewer(version);
  await assertPlain(collections);
  const hasIndex = version !== undefined && (await collections.jobs.indexExists(DUE_INDEX));
  if (hasIndex) return;
  throw new SteppingError(
    'STORE_REFUSED',
    `The collection ${collections.jobs.collectionName} or its index ${DUE_INDEX} is missing, and migrate is false. Run \`await stepping.migrate()\` once, with a user who may create them.`,
  );
}

async function versionOf(schema: Collections['schema']): Promise<number | undefined> {
  return (await schema.findOne({ _id: VERSION_ID }))?.version;
}

function assertNotNewer(version: number | undefined): void {
  if (version === undefined || version <= VERSION) return;
  throw new SteppingError(
    'STORE_REFUSED',
    `The store's collections have version ${version}, and this release knows ${VERSION}: a newer one has migrated them. Deploy that release or a newer one here.`,
  );
}

/** Refuses collections that somebody made before us in a way that breaks what we rely on. */
async function assertPlain({ db, jobs }: Collections): Promise<void> {
  const [info] = await db.listCollections({ name: jobs.collectionName }).toArray();
  if (info === undefined) return;
  const { collation, capped, validator, timeseries } = (info as { options?: mongo.Document }).options ?? {};
  const indexes = await jobs.indexes();
  const expires = indexes.some(({ expireAfterSeconds }) => expireAfterSeconds !== undefined);
  const reason =
    (info.type !== 'collection' && `is a ${info.type}`) ||
    (collation && 'has a collation, by which different gids may be the same') ||
    (capped && 'is capped, which drops jobs') ||
    (validator && Object.keys(validator).length > 0 && 'has a validator, which may refuse jobs') ||
    (timeseries && 'is a time series') ||
    (expires && 'has a TTL index, which would take jobs before their barriers');
  if (!reason) return;
  throw new SteppingError(
    'STORE_REFUSED',
    `The collection ${jobs.collectionName} ${reason}. Drop or rename it, or choose another collectionPrefix.`,
  );
}
