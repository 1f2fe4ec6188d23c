import {
  type DbProviders,
  type EventEmitter,
  type JobFilter,
  type JobInfo,
  type JobStatus,
  type Jobs,
  type Logger,
  newGid,
  SteppingError,
} from '@stepping/core';
import type { DtmMessage, DtmServer, DtmStatus, DtmTransaction } from './dtm-server.js';
import type { JobReader, ReadJob } from './job-reader.js';
import type { Messages } from './messages.js';
import type { Question } from './step-message.js';
import { wireGid } from './wire-gid.js';

/** Default and largest page of `list`. */
const DEFAULT_LIMIT = 100;
const MAX_LIMIT = 1_000;
/** Of a page of all that failed: where the server keeps its messages in boltdb or Redis, a page has their payloads in it. */
const REDRIVE_PAGE = 100;
/** Of a page, at the same time. */
const READS = 8;
/** By how much the clock of the server may be ahead of or behind ours, and nothing be missing in a list. Unit: ms. */
const CLOCKS_APART_MS = 600_000;

interface DtmOperationsDeps {
  readonly server: DtmServer;
  readonly messages: Messages;
  readonly reader: JobReader;
  readonly databases: DbProviders;
  readonly events: EventEmitter;
  readonly log: Required<Logger>;
}

/** What an operator can do with jobs of a DTM server. */
export class DtmOperations implements Pick<Jobs, 'list' | 'redrive' | 'redriveAll' | 'cancel' | 'purge' | 'stats' | 'settle'> {
  readonly #deps: DtmOperationsDeps;

  constructor(deps: DtmOperationsDeps) {
    this.#deps = deps;
  }

  /** In the order of the server, which depends on its store. A page may be shorter than its limit. */
  async list(filter: JobFilter = {}): Promise<{ jobs: JobInfo[]; cursor?: string }> {
    refuseStep('list', filter);
    const limit = Math.min(filter.limit ?? DEFAULT_LIMIT, MAX_LIMIT);
    for (let position = filter.cursor; ; ) {
      const page = await this.#page(filter, limit, position);
      position = page.nextPosition;
      const jobs = page.jobs.map(({ info: { instance: _, ...job } }) => job as JobInfo);
      if (position === undefined) return { jobs };
      if (jobs.length > 0) return { jobs, cursor: position };
    }
  }

  async redrive(gid: string): Promise<void> {
    const job = await this.#read(gid);
    if (job.info.status !== 'failed') throw wrongStatus('redrive', gid, job.info.status);
    if (!(await this.#redrive(job))) throw wrongStatus('redrive', gid, 'submitted');
  }

  async redriveAll(filter: Omit<JobFilter, 'status' | 'limit' | 'cursor'>): Promise<{ redriven: number }> {
    refuseStep('redriveAll', filter);
    let redriven = 0;
    let position: string | undefined;
    do {
      const page = await this.#page({ ...filter, status: 'failed' }, REDRIVE_PAGE, position);
      for (const job of page.jobs) if (await this.#redrive(job)) redriven++;
      position = page.nextPosition;
    } while (position !== undefined);
    return { redriven };
  }

  async cancel(): Promise<never> {
    throw unsupported(
      'cancel',
      'DTM could only stop the message by force, which it calls a failure, and a step that runs would not hear of it',
    );
  }

  async purge(): Promise<never> {
    throw unsupported(
      'purge',
      'The server forgets messages by its own settings (DATA_EXPIRE of its store), and the databases the attempts of steps after barrierRetentionMs',
    );
  }

  async stats(): Promise<never> {
    throw unsupported('stats', 'DTM does not count messages by status. Its metrics are at /api/metrics of the server');
  }

  async settle(gid: string, verdict: 'submitted' | 'rolled-back', reason: string): Promise<void> {
    const { server, messages, databases, events, log } = this.#deps;
    const { info, current } = await this.#read(gid);
    if (info.status !== 'prepared') throw wrongStatus('settle', gid, info.status);
    const { instance, tenant, db } = current.question;
    // A database that does answer knows better than any person, and its barrier keeps a late commit from contradicting the verdict.
    const answer = db ? ((await databases.find(db)?.resolveInDoubt(gid, instance, db)) ?? 'unknown') : 'unknown';
    if (answer !== 'unknown' && (answer === 'committed') !== (verdict === 'submitted')) throw contradicted(gid, verdict, answer);
    const { transaction, branches } = current;
    const changed =
      verdict === 'submitted'
        ? await server.submit(unawaited(messages.ofStored(transaction, branches)))
        : await server.abort(transaction.gid);
    if (changed === 'refused') throw wrongStatus('settle', gid, (await this.#read(gid)).info.status);
    log.warn('a prepared job was settled by hand', { gid, verdict, reason, database: answer });
    events.emit(verdict === 'submitted' ? 'job.submitted' : 'job.rolled-back', { gid, tenant });
  }

  async #read(gid: string): Promise<ReadJob> {
    const job = await this.#deps.reader.read(gid);
    if (typeof job !== 'string') return job;
    throw new SteppingError('JOB_NOT_FOUND', `There is no job ${gid}: it was never stored, or the DTM server has forgotten it.`, { gid });
  }

  async #page(
    filter: JobFilter,
    limit: number,
    position: string | undefined,
  ): Promise<{ jobs: readonly ReadJob[]; nextPosition: string | undefined }> {
    const wanted = statusesOf(filter);
    const asked = new Set(wanted.flatMap((status) => STORED_AS[status]));
    if (asked.size === 0) return { jobs: [], nextPosition: undefined };
    const [onlyOne, ...others] = asked;
    const { transactions, nextPosition } = await this.#deps.server.all({
      limit,
      ...(onlyOne === undefined || others.length > 0 ? {} : { status: onlyOne }),
      ...(filter.createdAfter === undefined ? {} : { createdAfter: new Date(filter.createdAfter.getTime() - CLOCKS_APART_MS) }),
      ...(position === undefined ? {} : { position }),
    });
    const gids = transactions.filter(({ status }) => asked.has(status)).flatMap((transaction) => this.#gidOf(transaction, filter));
    const jobs = await this.#readAll(gids);
    return { jobs: jobs.filter(({ info }) => (wanted as readonly string[]).includes(info.status)), nextPosition };
  }

  /** Of a message that is the first one of a job of ours, if it fits. */
  #gidOf(transaction: DtmTransaction, { tenant, createdAfter, createdBefore }: JobFilter): readonly string[] {
    const question = this.#deps.messages.questionOf(transaction);
    if (question === undefined || wireGid(question.gid) !== transaction.gid) return [];
    if (tenant !== undefined && question.tenant !== tenant) return [];
    if (createdAfter !== undefined && question.at <= createdAfter.getTime()) return [];
    if (createdBefore !== undefined && question.at >= createdBefore.getTime()) return [];
    return [question.gid];
  }

  async #readAll(gids: readonly string[]): Promise<readonly ReadJob[]> {
    const jobs: ReadJob[] = [];
    for (let from = 0; from < gids.length; from += READS) {
      const answers = await Promise.all(gids.slice(from, from + READS).map((gid) => this.#readInList(gid)));
      jobs.push(...answers.filter((answer) => answer !== undefined));
    }
    return jobs;
  }

  /** One tenant's database that is down does not hide the jobs of all others. */
  async #readInList(gid: string): Promise<ReadJob | undefined> {
    try {
      const job = await this.#deps.reader.read(gid);
      return typeof job === 'string' ? undefined : job;
    } catch (error) {
      this.#deps.log.warn('a job is left out of a list: its database is the only one to know whether it failed or was rolled back', {
        gid,
        error,
      });
      return undefined;
    }
  }

  /** False: somebody else is redriving it. */
  async #redrive({ info: { gid }, first, current, left }: ReadJob): Promise<boolean> {
    const { server, messages, log } = this.#deps;
    const token = newGid();
    const message = messages.ofRedrive(left, first.question, current.generation + 1, token);
    let unheard: unknown;
    try {
      if ((await server.prepare(message)) === 'refused') return false;
    } catch (error) {
      if (SteppingError.is(error)) throw error;
      unheard = error;
    }
    // Of two at the same time both are told "done", and one is stored.
    const stored = await server.query(message.gid);
    if (stored === undefined) throw unheard ?? new Error(`The DTM server took the redrive of job ${gid}, but knows nothing of it`);
    const question: Question | undefined = messages.questionOf(stored.transaction);
    if (question?.redrive !== token) return false;
    if (stored.transaction.status !== 'prepared') return true;
    try {
      await server.submit(unawaited(message));
    } catch (error) {
      log.warn('A redriven job is stored, but could not be submitted at once; the query-back will do it', { gid, error });
    }
    return true;
  }
}

/** An operator does not wait for the steps, and what they come to says nothing of the submit. */
function unawaited(message: DtmMessage): DtmMessage {
  return { ...message, wait_result: false };
}

/** What the server may call a job of this status: a message that failed may have been rolled back, or redriven since; a job without a transaction counts as submitted when it is prepared. */
const STORED_AS: Record<JobStatus, readonly DtmStatus[]> = {
  prepared: ['prepared'],
  submitted: ['prepared', 'submitted', 'failed'],
  succeeded: ['succeed', 'failed'],
  failed: ['failed'],
  'rolled-back': ['failed'],
  cancelled: [],
};

function statusesOf({ status }: JobFilter): readonly JobStatus[] {
  if (status === undefined) return Object.keys(STORED_AS) as JobStatus[];
  return typeof status === 'string' ? [status] : status;
}

function refuseStep(verb: string, { step }: JobFilter): void {
  if (step === undefined) return;
  throw unsupported(
    `${verb} by step`,
    'The server knows of a message neither the names of its steps nor which one is next. List by status, time and tenant',
  );
}

function unsupported(what: string, reason: string): SteppingError<'UNSUPPORTED_BY_TM'> {
  return new SteppingError('UNSUPPORTED_BY_TM', `jobs.${what} is not possible with DTM. ${reason}.`, { verb: what.split(' ')[0] });
}

const ALLOWED = {
  redrive: 'Only failed jobs can be redriven',
  settle: 'Only jobs of a transaction that are prepared can be settled',
};

function wrongStatus(verb: keyof typeof ALLOWED, gid: string, status: string): SteppingError<'JOB_STATUS'> {
  return new SteppingError('JOB_STATUS', `Job ${gid} is ${status}. ${ALLOWED[verb]}.`, { gid, status });
}

function contradicted(gid: string, verdict: string, answer: string): SteppingError<'JOB_STATUS'> {
  return new SteppingError(
    'JOB_STATUS',
    `Job ${gid} cannot be settled as ${verdict}: its database answers, and says that the transaction is ${answer}. The query-back will settle it.`,
    { gid, answer },
  );
}
