import type { DbTransaction, InDoubtAnswer } from './db-transaction.js';
import { endTransaction } from './end-transaction.js';
import type { EventEmitter } from './events.js';
import { duplicate, inDoubt } from './job-errors.js';
import type { Logger } from './logger.js';
import type { Message } from './message.js';
import { SteppingError } from './stepping-error.js';
import type { Enlisted, NewJob, StartAnswer } from './transaction-manager.js';

/** The job is a row of the business transaction itself: the TM's store lives in that database (design §4, same database). */
export class EnlistedMessage implements Message {
  readonly #job: NewJob;
  readonly #enlisted: Enlisted;
  readonly #transaction: DbTransaction;
  readonly #claimed: boolean;
  readonly #app: { readonly events: EventEmitter; readonly logger: Required<Logger> };

  /** `claimed`: we commit ourselves, so that this process may start the job as soon as the commit is acknowledged. */
  constructor(
    job: NewJob,
    enlisted: Enlisted,
    transaction: DbTransaction,
    claimed: boolean,
    app: { readonly events: EventEmitter; readonly logger: Required<Logger> },
  ) {
    this.#job = job;
    this.#enlisted = enlisted;
    this.#transaction = transaction;
    this.#claimed = claimed;
    this.#app = app;
  }

  async prepare(): Promise<void> {
    const { gid, instance } = this.#job;
    let answer: StartAnswer;
    try {
      answer = await this.#enlisted.prepare(this.#job, { claimed: this.#claimed });
    } catch (error) {
      this.#enlisted.abandoned(gid, instance);
      // Refused by the server itself, the row is not there, and the error is for the user's retry loop to see. In doubt, the row may be there.
      if (!this.#isRefusal(error)) await endTransaction(this.#transaction, this.#app.logger);
      throw error;
    }
    if (answer.outcome === 'stored') return;
    this.#enlisted.abandoned(gid, instance);
    throw answer.outcome === 'duplicate' ? duplicate(gid, answer.status) : inDoubt(gid);
  }

  hasCommitted(): Promise<boolean> {
    return this.#enlisted.hasCommitted(this.#job.gid, this.#job.instance);
  }

  resolve(): Promise<InDoubtAnswer> {
    return this.#enlisted.resolve(this.#job.gid, this.#job.instance);
  }

  async committed(): Promise<void> {
    const { gid, instance, tenant } = this.#job;
    // First the event, so that it is told before those of the steps.
    this.#app.events.emit('job.submitted', { gid, tenant });
    this.#enlisted.committed(gid, instance);
  }

  async rolledBack(): Promise<void> {
    this.#enlisted.abandoned(this.#job.gid, this.#job.instance);
  }

  undecided(): void {
    this.#enlisted.abandoned(this.#job.gid, this.#job.instance);
  }

  #isRefusal(error: unknown): boolean {
    return SteppingError.is(error) || this.#transaction.commitOutcome?.(error) === 'not-committed';
  }
}
