import type { EventEmitter } from './events.js';
import type { Job, JobOptions, StartedJob } from './job.js';
import { alreadyStarted, type DraftRules, JobDraft } from './job-draft.js';
import { inDoubt } from './job-errors.js';
import type { Lifecycle } from './lifecycle.js';
import type { TransactionManager } from './transaction-manager.js';

/** What a job needs of its app to be started. */
export interface StartingApp extends DraftRules {
  readonly lifecycle: Lifecycle;
  readonly events: EventEmitter;
  readonly tm: TransactionManager;
  /** A plain start inside a business transaction. */
  warnNotTied(gid: string): void;
}

/** A job without a business transaction. */
export class PlainJob extends JobDraft implements Job {
  readonly #app: StartingApp;
  #state: 'draft' | 'starting' | 'failed' | 'started' = 'draft';

  constructor(options: JobOptions, app: StartingApp) {
    super(options, app);
    this.#app = app;
  }

  async start(): Promise<StartedJob> {
    const { gid } = this;
    if (this.#state === 'starting' || this.#state === 'started')
      throw alreadyStarted(gid, 'Each job is started once; make another by createJob().');
    const { lifecycle } = this.#app;
    lifecycle.assertTakesWork(`Starting job ${gid}`);
    if (lifecycle.isInsideTransaction()) this.#app.warnNotTied(gid);
    this.#state = 'starting';
    try {
      const started = await lifecycle.hold(() => this.#store());
      this.#state = 'started';
      return started;
    } catch (error) {
      this.#state = 'failed';
      throw error;
    }
  }

  async #store(): Promise<StartedJob> {
    const { gid, tenant } = this;
    // The instance is that of the object: a repeat after a lost answer is the very same write (R7).
    const answer = await this.#app.tm.start({ ...(await this.seal()), tenant, db: undefined });
    if (answer.outcome === 'in-doubt') throw inDoubt(gid);
    if (answer.outcome === 'stored') this.#app.events.emit('job.submitted', { gid, tenant });
    return { gid, status: answer.status, duplicate: answer.outcome === 'duplicate' };
  }
}
