import { refuse } from './check-options.js';
import type { DbRef, DbTransaction, InDoubtAnswer } from './db-transaction.js';
import { endTransaction } from './end-transaction.js';
import { EnlistedMessage } from './enlisted-message.js';
import type { Resolver } from './injection.js';
import type { JobOptions, StartedJob, TransactionJob } from './job.js';
import { alreadyStarted, type DraftRules, JobDraft } from './job-draft.js';
import { commitUnknown } from './job-errors.js';
import type { Lifecycle } from './lifecycle.js';
import type { Message } from './message.js';
import { SteppingError } from './stepping-error.js';
import type { Enlisted } from './transaction-manager.js';
import type { BarrierKey } from './transaction-scope.js';
import { type Messaging, TwoPhaseMessage } from './two-phase-message.js';

/** What a job needs of its app to be tied to a transaction. */
export interface BindingApp extends DraftRules, Messaging {
  readonly lifecycle: Lifecycle;
  readonly resolver: Resolver;
}

type State =
  | { readonly is: 'draft' }
  | { readonly is: 'preparing' }
  /** `known`: somebody said so, and nothing can change it. */
  | { readonly is: 'prepared'; readonly message: Message; readonly known?: 'committed' }
  /** The error is that of every further call (A2). */
  | { readonly is: 'refused'; readonly error: unknown }
  | { readonly is: 'settled'; readonly verdict: 'committed' | 'rolled-back' };

/** A job tied to a business transaction: prepare, commit, submit, and what becomes of it when one of them gets no answer. */
export class BoundJob extends JobDraft implements TransactionJob {
  readonly transaction: DbTransaction;
  readonly #app: BindingApp;
  #state: State = { is: 'draft' };
  #enlistment: { readonly hand: Enlisted | undefined } | undefined;

  constructor(options: JobOptions, transaction: DbTransaction, app: BindingApp) {
    super(options, app);
    if (typeof transaction.insertBarrier !== 'function') {
      refuse('transaction of createJob', transaction, 'wrapped by a db package: typeormTransaction(queryRunner)');
    }
    this.transaction = transaction;
    this.#app = app;
  }

  /** That of the two-phase message; undefined where the job is to be a row of the transaction itself, or its gid may have been somebody else's. */
  get barrier(): BarrierKey | undefined {
    return !this.drawn || this.#enlisted() ? undefined : this;
  }

  async prepare(): Promise<void> {
    this.#assertDraft();
    await this.#app.lifecycle.hold(() => this.#prepare({ claimed: false }));
  }

  async start(): Promise<StartedJob> {
    this.#assertDraft();
    return this.#app.lifecycle.hold(() => this.#start());
  }

  async submit(): Promise<'submitted' | 'rolled-back'> {
    return this.#app.lifecycle.hold(() => this.#submit());
  }

  async resolve(): Promise<'committed' | 'rolled-back' | 'unknown'> {
    return this.#app.lifecycle.hold(() => this.#resolve());
  }

  async #prepare({ claimed }: { claimed: boolean }): Promise<Message> {
    this.#state = { is: 'preparing' };
    // Before the first await: a start() on the same transaction must see it.
    remember(this);
    try {
      const message = await this.#bind(claimed);
      await message.prepare();
      this.#state = { is: 'prepared', message };
      return message;
    } catch (error) {
      this.#state = { is: 'refused', error };
      forget(this);
      throw error;
    }
  }

  /** All checks, before anything is written, and the way to tell the TM. */
  async #bind(claimed: boolean): Promise<Message> {
    const { transaction, gid } = this;
    const app = this.#app;
    app.lifecycle.assertTakesWork(`Preparing job ${gid}`);
    const sealed = await this.seal();
    if (!transaction.isActive()) throw notActive(gid);
    const db = await transaction.ref(app.resolver);
    const job = { ...sealed, db, tenant: this.#tenantOf(db) };
    const enlisted = this.#enlisted();
    return enlisted ? new EnlistedMessage(job, enlisted, transaction, claimed, app) : new TwoPhaseMessage(job, transaction, app);
  }

  /** Asked for but once: the hand of the TM on this transaction, where its store is in the same database. */
  #enlisted(): Enlisted | undefined {
    this.#enlistment ??= { hand: this.#app.tm.enlist?.(this.transaction) };
    return this.#enlistment.hand;
  }

  #tenantOf(db: DbRef): string | undefined {
    if (this.tenant === undefined || db.tenant === undefined || this.tenant === db.tenant) return this.tenant ?? db.tenant;
    throw new SteppingError(
      'DB_MISMATCH',
      `Job ${this.gid} is of tenant ${JSON.stringify(this.tenant)}, but its transaction is in the database of tenant ${JSON.stringify(db.tenant)}. Create the job with the tenant of the transaction, or without one.`,
      { gid: this.gid, tenant: this.tenant, db },
    );
  }

  async #start(): Promise<StartedJob> {
    const { transaction, gid } = this;
    if (!transaction.commit) {
      throw new SteppingError(
        'TX_NOT_OWNED',
        `start() of job ${gid} would commit a transaction that somebody else commits. Call job.prepare() inside it, and job.submit() when it has committed.`,
        { gid },
      );
    }
    const other = otherPreparedJob(this);
    if (other) {
      throw new SteppingError(
        'TX_NOT_OWNED',
        `start() of job ${gid} would commit the transaction of job ${other.gid}, too, which is prepared on it. Call job.prepare() for each, commit yourself, then job.submit() for each.`,
        { gid, other: other.gid },
      );
    }
    const message = await this.#prepareOrEnd();
    try {
      await transaction.commit();
    } catch (error) {
      await this.#afterFailedCommit(message, error);
      return { gid, status: 'submitted', duplicate: false };
    }
    await this.#settle(message, 'committed');
    return { gid, status: 'submitted', duplicate: false };
  }

  /** Whoever calls start() hands the transaction over, so it is ended also when nothing comes of the job. */
  async #prepareOrEnd(): Promise<Message> {
    try {
      return await this.#prepare({ claimed: true });
    } catch (error) {
      await endTransaction(this.transaction, this.#app.logger);
      throw error;
    }
  }

  /** Returns if the transaction committed all the same. */
  async #afterFailedCommit(message: Message, error: unknown): Promise<void> {
    if (this.transaction.commitOutcome?.(error) === 'not-committed') {
      // A server may refuse a commit and leave the transaction open (SQLite when busy).
      const ended = await endTransaction(this.transaction, this.#app.logger);
      if (ended) await this.#settle(message, 'rolled-back');
      else message.undecided();
      throw error;
    }
    const answer = await message.resolve();
    if (answer === 'unknown') {
      message.undecided();
      throw commitUnknown(this.gid, error);
    }
    await this.#settle(message, answer);
    if (answer === 'rolled-back') throw error;
  }

  async #submit(): Promise<'submitted' | 'rolled-back'> {
    const state = this.#prepared('submit');
    if (state.is === 'settled') return state.verdict === 'committed' ? 'submitted' : 'rolled-back';
    const { message } = state;
    if (state.known !== 'committed') {
      if (this.transaction.isActive()) throw stillActive(this.gid);
      const answer = await this.#outcomeOf(message);
      if (answer === 'unknown') throw commitUnknown(this.gid);
      if (answer === 'rolled-back') {
        await this.#settle(message, 'rolled-back');
        return 'rolled-back';
      }
    }
    await this.#settle(message, 'committed');
    return 'submitted';
  }

  /** A3: a look that proves a commit and never its absence, then the question that proves either. */
  async #outcomeOf(message: Message): Promise<InDoubtAnswer> {
    try {
      if (await message.hasCommitted()) return 'committed';
    } catch (error) {
      this.#app.logger.debug('The commit of a transaction could not be looked up', { gid: this.gid, error });
    }
    return message.resolve();
  }

  async #resolve(): Promise<InDoubtAnswer> {
    const state = this.#prepared('resolve');
    if (state.is === 'settled') return state.verdict;
    if (state.known) return state.known;
    const answer = await state.message.resolve();
    if (answer === 'rolled-back') await this.#settle(state.message, 'rolled-back');
    // A submit() beside it may have settled it meanwhile.
    if (answer === 'committed' && this.#state === state) this.#state = { ...state, known: 'committed' };
    return answer;
  }

  /** The outcome is known for good: tells the TM, once. */
  async #settle(message: Message, verdict: 'committed' | 'rolled-back'): Promise<void> {
    if (this.#state.is === 'settled') return;
    this.#state = { is: 'settled', verdict };
    forget(this);
    await (verdict === 'committed' ? message.committed() : message.rolledBack());
  }

  #assertDraft(): void {
    if (this.#state.is === 'refused') throw this.#state.error;
    if (this.#state.is !== 'draft')
      throw alreadyStarted(this.gid, 'Each job is prepared or started once; make another by createJob({ transaction }).');
  }

  #prepared(verb: string): Extract<State, { is: 'prepared' | 'settled' }> {
    const state = this.#state;
    if (state.is === 'refused') throw state.error;
    if (state.is === 'prepared' || state.is === 'settled') return state;
    const remedy = state.is === 'draft' ? 'Call job.prepare() in the open transaction first' : 'Await job.prepare() first';
    throw new SteppingError('JOB_STATUS', `Job ${this.gid} is not prepared, so ${verb}() cannot say anything of it. ${remedy}.`, {
      gid: this.gid,
    });
  }
}

// Which jobs are prepared on a connection, whatever object the caller wraps it in. A connection may have begun a new transaction since: only jobs
// whose own transaction is still open count.
const preparedOn = new WeakMap<object, Set<BoundJob>>();

function remember(job: BoundJob): void {
  const jobs = preparedOn.get(connectionOf(job)) ?? new Set();
  for (const other of jobs) if (!other.transaction.isActive()) jobs.delete(other);
  preparedOn.set(connectionOf(job), jobs.add(job));
}

function forget(job: BoundJob): void {
  preparedOn.get(connectionOf(job))?.delete(job);
}

function otherPreparedJob(job: BoundJob): BoundJob | undefined {
  return [...(preparedOn.get(connectionOf(job)) ?? [])].find((other) => other !== job && other.transaction.isActive());
}

function connectionOf({ transaction }: BoundJob): object {
  const { handle } = transaction.native;
  return typeof handle === 'object' && handle !== null ? handle : transaction;
}

function notActive(gid: string): SteppingError<'TX_NOT_ACTIVE'> {
  return new SteppingError(
    'TX_NOT_ACTIVE',
    `The transaction of job ${gid} is not active. Begin it before job.prepare() or job.start(), and call them before it ends.`,
    {
      gid,
    },
  );
}

function stillActive(gid: string): SteppingError<'TX_STILL_ACTIVE'> {
  return new SteppingError(
    'TX_STILL_ACTIVE',
    `The transaction of job ${gid} is still open: submit() would run the steps of something that may roll back. Commit first; if your commit failed, call job.resolve().`,
    { gid },
  );
}
