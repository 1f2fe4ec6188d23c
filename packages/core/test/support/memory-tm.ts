import type {
  DbTransaction,
  Enlisted,
  FoundJob,
  InDoubtAnswer,
  JobStatus,
  NewJob,
  StartAnswer,
  TmPlugin,
  TransactionManager,
} from '../../src/index.js';
import { TransactionManager as TransactionManagerToken } from '../../src/index.js';
import { BusinessTransaction } from './business-database.js';

type Verb = 'start' | 'prepare' | 'submit' | 'abort' | 'find' | 'enlisted.prepare';

interface Row {
  job: NewJob;
  status: JobStatus | 'purging';
}

/** The other side of the `TransactionManager` contract, in memory: it keeps the table of R4, runs nothing, and can be told to fail. */
export class MemoryTm implements TransactionManager {
  readonly rows = new Map<string, Row>();
  /** Every call, in order, as `verb`. */
  readonly calls: Verb[] = [];
  /** What the fast path was told. */
  readonly told: ('committed' | 'abandoned')[] = [];
  operations: TransactionManager['operations'];
  handle?: (request: Request) => Promise<Response>;
  readonly #failures = new Map<Verb, { error: unknown; applied: boolean }>();
  readonly #enlists: boolean;
  /** What the store says of an enlisted job whose commit got no answer; undefined: the truth. */
  enlistedAnswer: InDoubtAnswer | undefined;

  constructor({ enlists = false }: { enlists?: boolean } = {}) {
    this.#enlists = enlists;
  }

  get plugin(): TmPlugin {
    return { name: 'memory-tm', provides: 'tm', register: (registry) => registry.provide(TransactionManagerToken, () => this) };
  }

  /** From now on `verb` rejects; with `applied` it does its work first, and only its answer is lost. */
  fail(verb: Verb, error: unknown = new Error(`${verb} failed`), { applied = false } = {}): void {
    this.#failures.set(verb, { error, applied });
  }

  heal(verb: Verb): void {
    this.#failures.delete(verb);
  }

  /** Puts a row there as another start left it. */
  leave(gid: string, status: Row['status'], instance = 'of-another-start'): void {
    this.rows.set(gid, { job: { gid, instance, drawn: false, tenant: undefined, db: undefined, steps: [] }, status });
  }

  statusOf(gid: string): Row['status'] | undefined {
    return this.rows.get(gid)?.status;
  }

  start(job: NewJob): Promise<StartAnswer> {
    return this.#call('start', () => this.#create(job, 'submitted'));
  }

  prepare(job: NewJob): Promise<StartAnswer> {
    return this.#call('prepare', () => this.#create(job, 'prepared'));
  }

  submit(gid: string, instance: string): Promise<boolean> {
    return this.#call('submit', () => this.#change(gid, instance, 'submitted'));
  }

  abort(gid: string, instance: string): Promise<boolean> {
    return this.#call('abort', () => this.#change(gid, instance, 'rolled-back'));
  }

  find(gid: string): Promise<FoundJob | undefined> {
    return this.#call('find', () => {
      const row = this.rows.get(gid);
      return row && found(row);
    });
  }

  enlist(transaction: DbTransaction): Enlisted | undefined {
    if (!this.#enlists || !(transaction instanceof BusinessTransaction)) return undefined;
    return {
      prepare: (job) =>
        this.#call('enlisted.prepare', () => {
          const answer = this.#answer(job, 'submitted');
          if (answer.outcome === 'stored') transaction.onCommit(() => this.#create(job, 'submitted'));
          return answer;
        }),
      committed: () => void this.told.push('committed'),
      abandoned: () => void this.told.push('abandoned'),
      resolve: async (gid, instance) => {
        if (this.enlistedAnswer) return this.enlistedAnswer;
        if (transaction.isOpenOnServer) return 'unknown';
        return this.#holds(gid, instance) ? 'committed' : 'rolled-back';
      },
      hasCommitted: async (gid, instance) => this.#holds(gid, instance),
    };
  }

  #holds(gid: string, instance: string): boolean {
    return this.rows.get(gid)?.job.instance === instance;
  }

  #create(job: NewJob, status: 'prepared' | 'submitted'): StartAnswer {
    const answer = this.#answer(job, status);
    const row = this.rows.get(job.gid);
    if (answer.outcome === 'stored' && row?.job.instance !== job.instance) this.rows.set(job.gid, { job, status });
    return answer;
  }

  /** The table of R4. */
  #answer(job: NewJob, status: 'prepared' | 'submitted'): StartAnswer {
    const row = this.rows.get(job.gid);
    if (!row || row.status === 'rolled-back') return { outcome: 'stored', status };
    if (row.status === 'purging') return { outcome: 'in-doubt' };
    if (row.job.instance === job.instance) return { outcome: 'stored', status: row.status };
    return row.status === 'prepared' ? { outcome: 'in-doubt' } : { outcome: 'duplicate', status: row.status };
  }

  #change(gid: string, instance: string, to: 'submitted' | 'rolled-back'): boolean {
    const row = this.rows.get(gid);
    if (row?.job.instance !== instance || row.status !== 'prepared') return false;
    row.status = to;
    return true;
  }

  async #call<R>(verb: Verb, work: () => R): Promise<R> {
    this.calls.push(verb);
    const failure = this.#failures.get(verb);
    if (failure && !failure.applied) throw failure.error;
    const result = work();
    if (failure) throw failure.error;
    return result;
  }
}

function found({ job, status }: Row): FoundJob {
  const { gid, instance, tenant, steps } = job;
  return {
    gid,
    instance,
    status,
    ...(tenant === undefined ? {} : { tenant }),
    createdAt: new Date(0),
    dueAt: undefined,
    step: 0,
    attempt: 1,
    lastError: undefined,
    steps: steps.map(({ name, args }) => ({ name, status: 'waiting', args: args === undefined ? undefined : JSON.parse(args) })),
  };
}
