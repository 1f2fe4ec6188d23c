import { setTimeout as sleep } from 'node:timers/promises';
import { type InDoubtAnswer, SteppingError } from '@stepping/core';
import { type CreateAnswer, type CreateJob, verdictByRow, WriteRefused } from '@stepping/tm-local';
import type { mongo } from 'mongoose';
import { answerByJob, FOUND_JOB } from './answers.js';
import { askStatement, createStatement, newDocument } from './create-statement.js';
import { serverTime } from './deployment.js';
import { codeOf, isDuplicateKey, isRefusal, isTransient } from './driver-error.js';
import type { JobCollection } from './job-document.js';
import { inOwnTransaction, NotCommitted } from './transaction.js';
import { writeToken } from './write-token.js';

/** So many jobs are worth the question for the server's time: one insert of all of them is a quarter of the work of as many upserts. */
const MANY = 8;
/** How long a create waits for gids that are uncommitted elsewhere. Unit: ms. */
const LOCK_TIMEOUT_MS = 200;
/** How long R9's question waits for the transaction that it asks about. Unit: ms. */
const RESOLVE_TIMEOUT_MS = 2_000;
/** Between two looks whether a rival has ended: from the first to the second, doubling. Unit: ms. */
const MIN_PAUSE_MS = 5;
const MAX_PAUSE_MS = 80;
/** For the way there and back beside those waits. Unit: ms. */
const ROUND_TRIP_MS = 1_000;

/**
 * Writes of gids that may be uncommitted in somebody's transaction. Outside of a transaction MongoDB would let such a write wait for as long as that transaction lasts, and all that came with it;
 * inside of one it says at once that there is a conflict. So these are transactions of our own, tried again for as long as there is time: nothing of ours ever waits in the server, and nothing is
 * written later for what was answered "locked".
 */
export class Creations {
  readonly #client: mongo.MongoClient;
  readonly #jobs: JobCollection;

  constructor(client: mongo.MongoClient, jobs: JobCollection) {
    this.#client = client;
    this.#jobs = jobs;
  }

  /** See `TransactionStore.create`. */
  async create(jobs: readonly CreateJob[]): Promise<readonly CreateAnswer[]> {
    const areStored = jobs.length >= MANY && (await this.#insert(jobs));
    return areStored ? jobs.map(({ lease }) => ({ outcome: 'stored', lease })) : this.#upsert(jobs);
  }

  /** What is usual: gids that nobody has. False: nothing was written, since one of them is taken or in conflict, which ends a transaction. */
  async #insert(jobs: readonly CreateJob[]): Promise<boolean> {
    const now = await serverTime(this.#client).catch((cause: unknown) => {
      throw nothingWritten(cause);
    });
    const documents = jobs.map((job) => newDocument(job, now));
    try {
      return (await this.#unlessConflict((session) => this.#jobs.insertMany(documents, { session }))) !== 'conflict';
    } catch (error) {
      if (!(error instanceof NotCommitted)) throw error;
      if (isDuplicateKey(error.cause)) return false;
      throw nothingWritten(error.cause);
    }
  }

  /** A batch that meets a conflict is halved until the gids in conflict are alone. */
  async #upsert(jobs: readonly CreateJob[]): Promise<readonly CreateAnswer[]> {
    const batch = new Batch();
    const deadline = performance.now() + LOCK_TIMEOUT_MS;
    const write = async (part: readonly CreateJob[]): Promise<void> => {
      const answers = await this.#write(part, batch);
      if (answers !== 'conflict') {
        for (const [i, { gid }] of part.entries()) batch.answers.set(gid, answers[i] as CreateAnswer);
        return;
      }
      if (part.length === 1) {
        batch.inConflict.push(...part);
        return;
      }
      const half = part.length >> 1;
      await write(part.slice(0, half));
      await write(part.slice(half));
    };
    await write(jobs);
    for (const job of batch.inConflict) batch.answers.set(job.gid, await this.#untilFree(job, deadline, batch));
    return jobs.map(({ gid }) => batch.answers.get(gid) as CreateAnswer);
  }

  createAlone(job: CreateJob, waitMs: number): Promise<CreateAnswer> {
    return this.#untilFree(job, performance.now() + waitMs, new Batch());
  }

  /** See `TransactionStore.resolve`. */
  async resolve(gid: string, instance: string): Promise<InDoubtAnswer> {
    const late = sleep(RESOLVE_TIMEOUT_MS + ROUND_TRIP_MS, 'unknown' as const, { ref: false });
    return Promise.race([late, this.#resolve(gid, instance).catch(() => 'unknown' as const)]);
  }

  async #resolve(gid: string, instance: string): Promise<InDoubtAnswer> {
    const deadline = performance.now() + RESOLVE_TIMEOUT_MS;
    const ask = async (session: mongo.ClientSession): Promise<InDoubtAnswer> => {
      await this.#jobs.bulkWrite([askStatement(gid, instance, writeToken())], { session });
      const found = await this.#jobs.findOne({ _id: gid }, { session, projection: FOUND_JOB });
      return found === null ? 'unknown' : verdictByRow(instance, found);
    };
    return (await untilNoConflict(deadline, () => this.#unlessConflict(ask))) ?? 'unknown';
  }

  async #untilFree(job: CreateJob, deadline: number, batch: Batch): Promise<CreateAnswer> {
    const answers = await untilNoConflict(deadline, () => this.#write([job], batch));
    return answers?.[0] ?? { outcome: 'locked' };
  }

  async #write(jobs: readonly CreateJob[], batch: Batch): Promise<readonly CreateAnswer[] | 'conflict'> {
    try {
      const answers = await this.#unlessConflict((session) => createIn(session, this.#jobs, jobs));
      if (answers !== 'conflict') batch.written = true;
      return answers;
    } catch (error) {
      if (!(error instanceof NotCommitted)) throw error;
      if (!batch.written) throw nothingWritten(error.cause);
      throw error.cause; // of a batch that was halved, a part was written before
    }
  }

  async #unlessConflict<R>(work: (session: mongo.ClientSession) => Promise<R>): Promise<R | 'conflict'> {
    try {
      return await inOwnTransaction(this.#client, work);
    } catch (error) {
      if (error instanceof NotCommitted && isTransient(error.cause) && codeOf(error.cause) !== undefined) return 'conflict';
      throw error;
    }
  }
}

/** Writes jobs through an open transaction, answering by the documents found (R4). */
export async function createIn(session: mongo.ClientSession, jobs: JobCollection, batch: readonly CreateJob[]): Promise<CreateAnswer[]> {
  const token = writeToken();
  const { upsertedIds } = await jobs.bulkWrite(
    batch.map((job) => createStatement(job, token)),
    { session, ordered: false },
  );
  const taken = batch.filter((_, i) => !Object.hasOwn(upsertedIds, i)).map(({ gid }) => gid);
  const rows =
    taken.length === 0
      ? []
      : await jobs
          .find({ _id: { $in: taken } }, { session, projection: FOUND_JOB })
          .batchSize(taken.length + 1)
          .toArray();
  const found = new Map(rows.map((row) => [row._id, row]));
  return batch.map((job, i): CreateAnswer => {
    if (Object.hasOwn(upsertedIds, i)) return { outcome: 'stored', lease: job.lease };
    const row = found.get(job.gid);
    if (row === undefined) return { outcome: 'in-doubt' };
    return row.created_by === token ? { outcome: 'stored', lease: row.lease } : answerByJob(job, row);
  });
}

/** What has become of a call so far. */
class Batch {
  readonly answers = new Map<string, CreateAnswer>();
  readonly inConflict: CreateJob[] = [];
  /** A part of it is committed: then it is no longer true that nothing was written. */
  written = false;
}

/** Undefined: the time is up. */
async function untilNoConflict<R>(deadline: number, attempt: () => Promise<R | 'conflict'>): Promise<R | undefined> {
  for (let pauseMs = MIN_PAUSE_MS; ; pauseMs = Math.min(pauseMs * 2, MAX_PAUSE_MS)) {
    const result = await attempt();
    if (result !== 'conflict') return result;
    const leftMs = deadline - performance.now();
    if (leftMs <= 0) return undefined;
    await sleep(Math.min(leftMs, pauseMs * (0.5 + Math.random())));
  }
}

function nothingWritten(cause: unknown): Error {
  if (isRefusal(cause)) return new WriteRefused(`MongoDB refused a write: ${cause instanceof Error ? cause.message : cause}`, { cause });
  return new SteppingError(
    'STORE_UNAVAILABLE',
    'The MongoDB of the store cannot be reached, or has no primary. Nothing was written; try again.',
    { cause },
  );
}
