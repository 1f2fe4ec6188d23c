import { SteppingError } from '@stepping/core';
import type { CreateAnswer, CreateJob, EnlistedStore } from '@stepping/tm-local';
import type { mongo } from 'mongoose';
import { answerByJob, FOUND_JOB } from './answers.js';
import { createIn } from './creations.js';
import { isDuplicateKey } from './driver-error.js';
import type { JobCollection } from './job-document.js';
import { FROM_MAJORITY } from './own-client.js';

/**
 * Writes a job through the user's open transaction. A rival's uncommitted gid is a write conflict (112), which ends the transaction: like every error of the driver it comes out as it is, since
 * the driver repeats only what carries its own label.
 *
 * `jobs` are those of the user's client, `ours` of our own.
 */
export function enlistedStore(session: mongo.ClientSession, jobs: JobCollection, ours: JobCollection): EnlistedStore {
  return {
    async create(job) {
      assertMajority(session, job);
      try {
        const [answer] = await createIn(session, jobs, [job]);
        return answer as CreateAnswer;
      } catch (error) {
        if (!isDuplicateKey(error)) throw error;
        // The transaction has ended; what the answer says makes the caller give it up.
        const found = await ours.findOne({ _id: job.gid }, { projection: FOUND_JOB, ...FROM_MAJORITY });
        return found === null ? { outcome: 'in-doubt' } : answerByJob(job, found);
      }
    },
  };
}

/** A commit that only one node has acknowledged may be rolled back after the job has run. The default of the server is a majority. */
function assertMajority(session: mongo.ClientSession, { gid }: CreateJob): void {
  if (!session.inTransaction()) {
    throw new SteppingError(
      'TX_NOT_ACTIVE',
      `The session that job ${gid} was to be stored through has no open transaction. Call session.startTransaction() first.`,
      { gid },
    );
  }
  // Not in the driver's types: the options of this transaction, with the defaults of session and client already in them.
  const { transaction } = session as unknown as { readonly transaction?: { readonly options?: mongo.TransactionOptions } };
  const { w, j, journal = j } = transaction?.options?.writeConcern ?? {};
  if ((w === undefined || w === 'majority') && journal !== false) return;
  throw new SteppingError(
    'STORE_REFUSED',
    `The transaction of job ${gid} commits with write concern ${JSON.stringify({ w, j: journal })}; a fail-over could roll it back after its job has run. Use inTransaction(), or start the transaction with { writeConcern: { w: 'majority' } }. Nothing was written.`,
    { gid },
  );
}
