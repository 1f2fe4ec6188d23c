import type { DbProviders, DbRef, EventEmitter, InDoubtAnswer, Logger } from '@stepping/core';
import type { Clock } from './clock.js';
import { DatabaseGates, PLACES_PER_DATABASE } from './database-gates.js';
import type { Acknowledged } from './group-commit.js';
import { decodeSteps } from './stored-steps.js';
import type { ClaimedJob, Save } from './transaction-store.js';

/** Shortest and longest wait between two questions about one job. Unit: ms. */
const MIN_DELAY_MS = 10_000;
const MAX_DELAY_MS = 60_000;
/** The longest for jobs whose database is down: all of them are asked within a minute of its return. Unit: ms. */
const MAX_DOWN_DELAY_MS = 45_000;
/** For a job that found no place at its database, spread so that they do not all come back at once. Unit: ms. */
const CROWDED_DELAY_MS = { min: 2_000, max: 10_000 };
/** Questions of one queue in flight, where each tenant has a database of its own: several that hang leave room for the others. */
const MAX_QUESTIONS = 200;

/** The queue that a prepared job waits in: claimed by processors that have its database. */
export function queryBackQueue(ref: Pick<DbRef, 'provider' | 'name'>): string {
  return `~db/${ref.provider}/${ref.name}`;
}

interface QueryBackDeps {
  readonly save: (save: Save) => Promise<Acknowledged<boolean>>;
  readonly databases: DbProviders;
  readonly events: EventEmitter;
  readonly log: Required<Logger>;
  readonly clock: Clock;
  readonly putBack: (queue: string, dueInMs: number) => void;
}

/**
 * Finds out what became of the business transaction of a job that is still prepared: asks the database, and saves the verdict under the fence, once it is sure
 * (R1). Anything unsure is asked again later, never decided.
 */
export class QueryBack {
  readonly #deps: QueryBackDeps;
  readonly #gates: DatabaseGates;
  /** Queues in which jobs of tenants were seen: there, one database is not all. */
  readonly #ofTenants = new Set<string>();

  constructor(deps: QueryBackDeps) {
    this.#deps = deps;
    this.#gates = new DatabaseGates(deps.clock);
  }

  /** How many jobs of this queue may be claimed and not yet resolved. */
  maxInFlight(queue: string): number {
    return this.#ofTenants.has(queue) ? MAX_QUESTIONS : PLACES_PER_DATABASE;
  }

  /**
   * Never rejects. With `patient: false` a job of a tenant whose database has as many as it takes is put back unasked, so that it does not stand in the way of other tenants' jobs
   * that were claimed behind it.
   */
  async resolve(job: ClaimedJob, { patient }: { patient: boolean } = { patient: true }): Promise<void> {
    const { db } = job;
    if (db?.tenant !== undefined) this.#ofTenants.add(job.queue);
    try {
      if (!patient && db?.tenant !== undefined && this.#gates.isCrowded(db)) await this.#putBack(job, between(CROWDED_DELAY_MS));
      else if (db && (await this.#gates.enter(db)) === 'down') await this.#askWhenItIsUp(job);
      else await this.#decide(job, await this.#ask(job));
    } catch (error) {
      this.#deps.log.warn('the verdict on a prepared job could not be saved; it is asked again when its lease ends', {
        gid: job.gid,
        error,
      });
    }
  }

  async #decide(job: ClaimedJob, answer: InDoubtAnswer): Promise<void> {
    if (answer === 'committed') await this.#submit(job);
    else if (answer === 'rolled-back') await this.#rollBack(job);
    else await this.#askLater(job);
  }

  async #ask({ gid, instance, db }: ClaimedJob): Promise<InDoubtAnswer> {
    const { databases, log } = this.#deps;
    const provider = db && databases.find(db);
    let reachable = true;
    try {
      if (db && provider) {
        const answer = await provider.resolveInDoubt(gid, instance, db);
        reachable = answer !== 'unknown' || this.#isReachable({ db });
        return answer;
      }
      log.error('a prepared job names a database that this process does not have', { gid, db, code: 'DB_UNKNOWN' });
      return 'unknown';
    } finally {
      if (db && this.#gates.leave(db, reachable)) this.#tell(db, reachable);
    }
  }

  #isReachable({ db }: Pick<ClaimedJob, 'db'>): boolean {
    return (db && this.#deps.databases.find(db)?.isReachable?.(db)) ?? true;
  }

  #tell(db: DbRef, reachable: boolean): void {
    if (reachable) this.#deps.log.info('a database answers again; its prepared jobs are asked about within a minute', { db });
    else this.#deps.log.warn('a database does not answer; its prepared jobs wait, and it is tried every few seconds', { db });
  }

  async #submit(job: ClaimedJob): Promise<void> {
    const { gid, tenant } = job;
    const queue = decodeSteps(job.steps)[0]?.queue ?? 'default';
    if (!(await this.#save(job, { status: 'submitted', queue, dueInMs: 0, error: undefined }))) return;
    this.#deps.events.emit('job.submitted', { gid, tenant });
    this.#deps.putBack(queue, 0);
  }

  async #rollBack(job: ClaimedJob): Promise<void> {
    const { gid, tenant } = job;
    if (!(await this.#save(job, { status: 'rolled-back', queue: undefined, dueInMs: undefined, error: undefined }))) return;
    this.#deps.events.emit('job.rolled-back', { gid, tenant });
  }

  async #askLater(job: ClaimedJob): Promise<void> {
    const { gid, tenant, ageMs } = job;
    // As long again as it has been prepared already: 10 s, 20 s, 40 s, then every minute.
    const dueInMs = Math.min(Math.max(ageMs, MIN_DELAY_MS), this.#isReachable(job) ? MAX_DELAY_MS : MAX_DOWN_DELAY_MS);
    if (!(await this.#putBack(job, dueInMs))) return;
    if (ageMs < MAX_DELAY_MS) return;
    this.#deps.log.warn('a job has been prepared for a minute or more: its transaction is still open, or its database cannot be asked', {
      gid,
      ageMs,
      db: job.db,
    });
    this.#deps.events.emit('job.prepared-too-long', { gid, tenant });
  }

  /** Without having asked: the database was down a moment ago. */
  async #askWhenItIsUp(job: ClaimedJob): Promise<void> {
    const { gid, tenant, ageMs } = job;
    const max = Math.min(Math.max(ageMs, MIN_DELAY_MS), MAX_DOWN_DELAY_MS);
    if (!(await this.#putBack(job, between({ min: max * 0.75, max })))) return;
    if (ageMs >= MAX_DELAY_MS) this.#deps.events.emit('job.prepared-too-long', { gid, tenant });
  }

  async #putBack(job: ClaimedJob, dueInMs: number): Promise<boolean> {
    if (!(await this.#save(job, { status: 'prepared', queue: undefined, dueInMs, error: undefined }))) return false;
    this.#deps.putBack(job.queue, dueInMs);
    return true;
  }

  async #save({ gid, lease }: ClaimedJob, values: Pick<Save, 'status' | 'queue' | 'dueInMs' | 'error'>): Promise<boolean> {
    return (await this.#deps.save({ gid, lease, step: 0, attempt: 1, giveUp: true, ...values })).answer;
  }
}

function between({ min, max }: { min: number; max: number }): number {
  return Math.round(min + Math.random() * (max - min));
}
