import type { DbProviders, DbTransaction, InDoubtAnswer } from './db-transaction.js';
import { endTransaction } from './end-transaction.js';
import type { EventEmitter } from './events.js';
import { duplicate, inDoubt } from './job-errors.js';
import type { Logger } from './logger.js';
import type { Message } from './message.js';
import { SteppingError } from './stepping-error.js';
import type { NewJob, StartAnswer, TransactionManager } from './transaction-manager.js';
import { settlesWithin } from './within.js';

/** How long a caller waits for the abort of its job. It is a courtesy to the next start of this gid: the query-back does without. Unit: ms. */
const ABORT_WAIT_MS = 1_000;

/** What a message to the TM needs of its app. */
export interface Messaging {
  readonly tm: TransactionManager;
  readonly databases: DbProviders;
  readonly events: EventEmitter;
  readonly logger: Required<Logger>;
}

/** A job tied to a transaction of which the database of the TM knows nothing. */
export type TiedJob = NewJob & { readonly db: NonNullable<NewJob['db']> };

/**
 * The two-phase message, barrier first (R2). As the transaction holds the barrier before the TM hears of the job, nobody can decide "rolled
 * back" while it is alive.
 */
export class TwoPhaseMessage implements Message {
  readonly #job: TiedJob;
  readonly #transaction: DbTransaction;
  readonly #app: Messaging;

  constructor(job: TiedJob, transaction: DbTransaction, app: Messaging) {
    this.#job = job;
    this.#transaction = transaction;
    this.#app = app;
  }

  async prepare(): Promise<void> {
    const { gid, instance } = this.#job;
    // What the driver throws here belongs to the user's own transaction: their retry loop must see it as it is.
    const inserted = await this.#transaction.insertBarrier(gid, instance);
    if (!inserted) throw barrierExists(this.#job);

    let answer: StartAnswer;
    try {
      answer = await this.#app.tm.prepare(this.#job); // sent once: in doubt, it is never sent again (A2)
    } catch (error) {
      const cannotCommit = await this.#takeBarrierOut();
      if (cannotCommit && !SteppingError.is(error, 'STORE_UNAVAILABLE')) await this.#abort();
      throw SteppingError.is(error) ? error : notPrepared(gid, error);
    }
    if (answer.outcome === 'stored') return;
    // Answered: nothing of mine is stored, so there is nothing to abort.
    await this.#takeBarrierOut();
    throw answer.outcome === 'duplicate' ? duplicate(gid, answer.status) : inDoubt(gid);
  }

  async hasCommitted(): Promise<boolean> {
    const { gid, instance, db } = this.#job;
    return (await this.#app.databases.find(db)?.hasCommitted(gid, instance, db)) ?? false;
  }

  /** R3: the database's answer, and for all but "committed" the TM's, too: it may have been settled and purged meanwhile. */
  async resolve(): Promise<InDoubtAnswer> {
    const { gid, instance, db } = this.#job;
    try {
      const answer = (await this.#app.databases.find(db)?.resolveInDoubt(gid, instance, db)) ?? 'unknown';
      if (answer !== 'rolled-back') return answer;
      const found = await this.#app.tm.find(gid);
      if (found?.instance !== instance || found.status === 'purging') return 'unknown';
      return found.status === 'prepared' || found.status === 'rolled-back' ? 'rolled-back' : 'committed';
    } catch (error) {
      this.#app.logger.warn('What became of a transaction could not be asked', { gid, error });
      return 'unknown';
    }
  }

  async committed(): Promise<void> {
    const { gid, instance, tenant } = this.#job;
    try {
      const changed = await this.#app.tm.submit(gid, instance);
      // Not changed: the query-back was first, and told of it.
      if (changed) this.#app.events.emit('job.submitted', { gid, tenant });
    } catch (error) {
      // Not an error of the business operation, which is done: the query-back will find out.
      this.#app.logger.warn('The transaction committed, but the transaction manager could not be told; it will ask by itself', {
        gid,
        error,
      });
      this.#app.events.emit('job.submit-deferred', { gid, error });
    }
  }

  rolledBack(): Promise<void> {
    return this.#abort();
  }

  undecided(): void {
    // The query-back decides.
  }

  /** A2. Whether the transaction can surely no longer commit with the barrier in it. */
  async #takeBarrierOut(): Promise<boolean> {
    const { gid, instance } = this.#job;
    try {
      await this.#transaction.deleteBarrier(gid, instance);
      return true;
    } catch (error) {
      this.#app.logger.warn('A job could not be prepared nor its barrier deleted; rolling its transaction back', { gid, error });
      return endTransaction(this.#transaction, this.#app.logger);
    }
  }

  /** A1: sent once, best effort, and only when the transaction can no longer commit. */
  async #abort(): Promise<void> {
    const { gid, instance, tenant } = this.#job;
    const abort = async () => {
      try {
        const changed = await this.#app.tm.abort(gid, instance);
        if (changed) this.#app.events.emit('job.rolled-back', { gid, tenant });
      } catch (error) {
        this.#app.logger.debug('A job that was rolled back could not be aborted; the query-back will end it', { gid, error });
      }
    };
    await settlesWithin(abort(), ABORT_WAIT_MS);
  }
}

function barrierExists({ gid, instance }: TiedJob): SteppingError<'BARRIER_EXISTS'> {
  return new SteppingError(
    'BARRIER_EXISTS',
    `The barrier of job ${gid} is in the database already, although this start was never made before. Roll back and start a new job; if it comes again, something else writes to the barrier table.`,
    { gid, instance },
  );
}

function notPrepared(gid: string, cause: unknown): SteppingError<'STORE_UNAVAILABLE'> {
  const text = cause instanceof Error ? cause.message : String(cause);
  return new SteppingError(
    'STORE_UNAVAILABLE',
    `The transaction manager did not take job ${gid}: ${text}. Its steps will not run; roll back and try again with a new job.`,
    { gid, cause },
  );
}
