import { setTimeout as sleep } from 'node:timers/promises';
import {
  type DbProviders,
  type FoundJob,
  type JobStatus,
  type Logger,
  type NewJob,
  type StartAnswer,
  SteppingError,
  type Steps,
  type TransactionManager,
} from '@stepping/core';
import type { CallbackEndpoint } from './callback-endpoint.js';
import type { DtmAnswer, DtmMessage, DtmServer } from './dtm-server.js';
import { stopwatch } from './elapsed.js';
import type { JobReader, ReadAnswer } from './job-reader.js';
import { ledgerOf } from './ledger-of-job.js';
import type { Messages } from './messages.js';
import type { DtmOperations } from './operations.js';
import { RememberedMessages } from './remembered-messages.js';
import { wireGid } from './wire-gid.js';

/** A plain start repeats an unheard write for so long. Unit: ms. */
const START_REPEAT_MS = 10_000;
/** Between two of them. Unit: ms. */
const REPEAT_AFTER_MS = 500;

interface DtmTransactionManagerDeps {
  readonly server: DtmServer;
  readonly messages: Messages;
  readonly reader: JobReader;
  readonly endpoint: Pick<CallbackEndpoint, 'handle'>;
  readonly operations: DtmOperations;
  readonly databases: DbProviders;
  readonly steps: Steps;
  readonly log: Required<Logger>;
  /** For so long a message that was prepared here is taken to be still what it was. Unit: ms. */
  readonly freshMs: number;
}

/** Jobs as two-phase messages of a DTM server, which calls back for each of their steps. */
export class DtmTransactionManager implements TransactionManager {
  readonly operations: DtmOperations;
  readonly #deps: DtmTransactionManagerDeps;
  readonly #remembered: RememberedMessages;

  constructor(deps: DtmTransactionManagerDeps) {
    this.#deps = deps;
    this.#remembered = new RememberedMessages(deps.freshMs);
    this.operations = deps.operations;
  }

  handle(request: Request): Promise<Response> {
    return this.#deps.endpoint.handle(request);
  }

  async start(job: NewJob): Promise<StartAnswer> {
    const message = this.#messageOf(job);
    const sinceSent = stopwatch();
    const answer = await this.#prepareRepeatedly(job, message);
    if (answer.outcome !== 'stored' || answer.status !== 'prepared') return answer;
    this.#remembered.add(job.gid, job.instance, message, sinceSent);
    try {
      await this.submit(job.gid, job.instance);
    } catch (error) {
      // It is stored, and the query-back of a job without a transaction submits it.
      this.#deps.log.warn('A job is stored, but could not be submitted at once; the query-back will do it', { gid: job.gid, error });
    }
    return { outcome: 'stored', status: 'submitted' };
  }

  async prepare(job: NewJob): Promise<StartAnswer> {
    const message = this.#messageOf(job);
    const sinceSent = stopwatch();
    // Sent once: a prepare in doubt is never sent again (A2).
    const answer = await this.#answer(job, await this.#deps.server.prepare(message));
    if (answer.outcome === 'stored') this.#remembered.add(job.gid, job.instance, message, sinceSent);
    return answer;
  }

  async submit(gid: string, instance: string): Promise<boolean> {
    const fresh = this.#remembered.takeFresh(gid, instance);
    if (fresh) return this.#submit(gid, instance, fresh);
    const seen = await this.#look(gid, instance);
    return seen.is === 'prepared' && this.#submit(gid, instance, seen.message);
  }

  async abort(gid: string, instance: string): Promise<boolean> {
    const fresh = this.#remembered.takeFresh(gid, instance);
    // DTM's abort knows no instance: only what is surely ours is aborted.
    if (!fresh && (await this.#look(gid, instance)).is !== 'prepared') return false;
    return (await this.#deps.server.abort(wireGid(gid))) === 'done';
  }

  async find(gid: string): Promise<FoundJob | undefined> {
    const found = await this.#deps.reader.read(gid);
    return typeof found === 'string' ? undefined : found.info;
  }

  #messageOf(job: NewJob): DtmMessage {
    const { messages, databases, steps } = this.#deps;
    return messages.ofJob(job, ledgerOf(job, databases, steps.bounded()), (step) => steps.has(step));
  }

  /** The same message again is no second one: the server keeps the first. */
  async #prepareRepeatedly(job: NewJob, message: DtmMessage): Promise<StartAnswer> {
    const until = performance.now() + START_REPEAT_MS;
    for (let sent = false; ; ) {
      try {
        return await this.#answer(job, await this.#deps.server.prepare(message));
      } catch (error) {
        if (SteppingError.is(error) && error.code !== 'STORE_UNAVAILABLE') throw error;
        sent ||= !SteppingError.is(error);
        if (performance.now() + REPEAT_AFTER_MS > until) throw sent ? outcomeUnknown(job.gid, error) : error;
        await sleep(REPEAT_AFTER_MS);
      }
    }
  }

  /** What the server's answer to a prepare means. It knows gids and no instances, so of a gid that somebody else can have it is asked what it has. */
  async #answer(job: NewJob, answer: DtmAnswer): Promise<StartAnswer> {
    if (answer === 'done' && job.drawn) return { outcome: 'stored', status: 'prepared' };
    const { gid, instance } = job;
    const found = await this.#readBack(gid);
    if (found === 'none') throw new Error(`The DTM server ${answer === 'done' ? 'took' : 'refused'} job ${gid}, but knows nothing of it`);
    if (found === 'foreign') throw takenByOthers(gid);
    const { info, current } = found;
    const isMine = info.instance === instance;
    if (current.generation === 0 && current.transaction.status === 'prepared') {
      if (isMine) return { outcome: 'stored', status: 'prepared' };
      // One without a transaction is submitted in any case.
      return info.status === 'prepared' ? { outcome: 'in-doubt' } : { outcome: 'duplicate', status: info.status as JobStatus };
    }
    if (info.status === 'rolled-back') throw deadGid(gid);
    return { outcome: isMine ? 'stored' : 'duplicate', status: info.status as JobStatus };
  }

  async #readBack(gid: string): Promise<ReadAnswer> {
    try {
      return await this.#deps.reader.read(gid);
    } catch (cause) {
      if (SteppingError.is(cause, 'DB_UNKNOWN')) throw cause; // of a job that is over, so nothing was stored
      // As a plain error: this call has written nothing, but the prepare before it may have.
      const text = cause instanceof Error ? cause.message : String(cause);
      throw new Error(`Job ${gid} was sent to the DTM server, but what it has under that gid cannot be read: ${text}`, { cause });
    }
  }

  /** Sent once, and a second time only when the first one surely did nothing. Answers whether it is this call that did it. */
  async #submit(gid: string, instance: string, message: DtmMessage): Promise<boolean> {
    try {
      if ((await this.#deps.server.submit(message)) === 'done') return true;
    } catch (error) {
      this.#deps.log.debug('A submit was not heard; asking what became of it', { gid, error });
    }
    const seen = await this.#look(gid, instance);
    if (seen.is === 'prepared') return (await this.#deps.server.submit(seen.message)) === 'done';
    return seen.is === 'submitted';
  }

  async #look(gid: string, instance: string): Promise<Seen> {
    const { server, messages } = this.#deps;
    const found = await server.query(wireGid(gid));
    if (found === undefined) throw new Error(`The DTM server knows nothing of job ${gid}`);
    const { transaction, branches } = found;
    const isMine = messages.questionOf(transaction)?.instance === instance;
    if (!isMine || transaction.status === 'failed') return { is: 'over' };
    return transaction.status === 'prepared' ? { is: 'prepared', message: messages.ofStored(transaction, branches) } : { is: 'submitted' };
  }
}

/** What became of a message of this very start. `over`: it was rolled back or failed, or the gid is another start's. */
type Seen = { readonly is: 'prepared'; readonly message: DtmMessage } | { readonly is: 'submitted' } | { readonly is: 'over' };

function outcomeUnknown(gid: string, cause: unknown): SteppingError<'START_OUTCOME_UNKNOWN'> {
  return new SteppingError(
    'START_OUTCOME_UNKNOWN',
    `The DTM server did not answer: job ${gid} may be stored or not. Start it again with the same gid, { gid: '${gid}' }: it will not run twice.`,
    { gid, cause },
  );
}

function deadGid(gid: string): SteppingError<'JOB_STATUS'> {
  return new SteppingError(
    'JOB_STATUS',
    `Job ${gid} was rolled back before, and DTM never takes such a gid again. Start it under a new gid.`,
    { gid, status: 'rolled-back' },
  );
}

function takenByOthers(gid: string): SteppingError<'JOB_STATUS'> {
  return new SteppingError(
    'JOB_STATUS',
    `The DTM server has a message under the gid of job ${gid} that is not this app's: another app uses the gid, or it was signed with a secret that is no longer among those of dtm({ secret }). Start the job under a new gid.`,
    { gid },
  );
}
