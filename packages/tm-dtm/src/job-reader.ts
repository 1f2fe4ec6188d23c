import { type DbProviders, type DbRef, type FoundJob, type JobInfo, type LedgerRecord, type Logger, SteppingError } from '@stepping/core';
import type { DtmBranch, DtmServer, DtmTransaction } from './dtm-server.js';
import { ownLedger } from './ledger-of-job.js';
import type { Messages } from './messages.js';
import type { Question, StepMessage } from './step-message.js';
import { wireGid } from './wire-gid.js';

/** One message of a job as the server has it. */
interface StoredMessage {
  readonly generation: number;
  readonly transaction: DtmTransaction;
  readonly branches: readonly DtmBranch[];
  readonly question: Question;
  /** Of its branches, in order. */
  readonly steps: readonly StepMessage[];
}

/** A job with all that was made of it. */
export interface ReadJob {
  readonly info: FoundJob;
  readonly first: StoredMessage;
  /** The message that the job is in now: the first one, or that of the last redrive. */
  readonly current: StoredMessage;
  /** Steps that have not run, as they are in the message. */
  readonly left: readonly StepMessage[];
}

/** `foreign`: there is a message, but not of this job. */
export type ReadAnswer = ReadJob | 'none' | 'foreign';

/** Puts together what server, payloads and ledger know of a job. */
export class JobReader {
  readonly #server: Pick<DtmServer, 'query'>;
  readonly #messages: Messages;
  readonly #databases: DbProviders;
  readonly #log: Required<Logger>;

  constructor(deps: { server: Pick<DtmServer, 'query'>; messages: Messages; databases: DbProviders; log: Required<Logger> }) {
    this.#server = deps.server;
    this.#messages = deps.messages;
    this.#databases = deps.databases;
    this.#log = deps.log;
  }

  /** Rejects when the server cannot be asked, and when a database alone could tell a failed job from a rolled-back one and does not answer, or is not known here (`DB_UNKNOWN`). */
  async read(gid: string): Promise<ReadAnswer> {
    const first = await this.#message(gid, 0);
    if (typeof first === 'string') return first;
    const all = [first];
    // A redrive is only made of a message that failed.
    for (let last = first; last.transaction.status === 'failed'; ) {
      const next = await this.#message(gid, last.generation + 1);
      if (typeof next === 'string') break;
      all.push(next);
      last = next;
    }
    return this.#put(all as [StoredMessage, ...StoredMessage[]]);
  }

  async #message(gid: string, generation: number): Promise<StoredMessage | 'none' | 'foreign'> {
    const found = await this.#server.query(wireGid(gid, generation));
    if (found === undefined) return 'none';
    const { transaction, branches } = found;
    const question = this.#messages.questionOf(transaction);
    if (question?.gid !== gid) return 'foreign';
    const steps = branches.map((branch) => this.#messages.stepOf(transaction.gid, branch));
    if (!steps.every((step) => step !== undefined)) return 'foreign';
    return { generation, transaction, branches, question, steps };
  }

  async #put(all: [StoredMessage, ...StoredMessage[]]): Promise<ReadJob> {
    const [first] = all;
    const current = all.at(-1) as StoredMessage;
    const { gid, instance, tenant, at } = first.question;
    const records = await this.#ledger(first);
    const done = new Set(
      all.flatMap(({ branches, steps }) =>
        steps.filter((_, index) => branches[index]?.status === 'succeed').map(({ position }) => position),
      ),
    );
    // DTM may write what was answered a moment later.
    for (const { position, state } of records) if (state === 'done') done.add(position);
    const left = first.steps.filter(({ position }) => !done.has(position));
    const [next] = left;
    const record = records.find(({ position }) => position === next?.position);
    const status = await this.#status(all, done.size > 0, records);
    const info: FoundJob = {
      gid,
      instance,
      status,
      ...(tenant === undefined ? {} : { tenant }),
      createdAt: new Date(at),
      dueAt: status === 'prepared' || status === 'submitted' ? dueAt(current.transaction, record) : undefined,
      step: next?.position ?? first.steps.length,
      attempt: attemptOf(record, current.generation),
      // Of the step that is next, or of one before it: kept like the local TM keeps it.
      lastError: records.findLast(({ lastError }) => lastError !== undefined)?.lastError,
      steps: first.steps.map(({ step, args, position }) => ({
        name: step,
        status: done.has(position) ? 'succeeded' : position === next?.position && status === 'failed' ? 'failed' : 'waiting',
        args: args === undefined ? undefined : JSON.parse(args),
      })),
    };
    return { info, first, current, left };
  }

  /** By position. Of steps that another service runs only that one knows more than the server. */
  async #ledger({ question: { gid, instance, tenant }, steps }: StoredMessage): Promise<readonly LedgerRecord[]> {
    const refs = steps.flatMap(({ ledger = ownLedger(this.#databases, tenant) }) => ledger ?? []);
    const databases = new Map(refs.map((ref) => [`${ref.provider}/${ref.name}`, ref]));
    const read = await Promise.all([...databases.values()].map((ref) => this.#records(gid, instance, ref)));
    return read.flat().sort((a, b) => a.position - b.position);
  }

  async #records(gid: string, instance: string, ref: DbRef): Promise<readonly LedgerRecord[]> {
    const ledger = this.#databases.find(ref)?.ledger;
    if (!ledger) return [];
    try {
      return await ledger.read(gid, instance, ref);
    } catch (error) {
      // What the server says is right all the same.
      this.#log.warn('The attempts of a job cannot be read from its database', { gid, db: ref, error });
      return [];
    }
  }

  async #status(
    all: readonly [StoredMessage, ...StoredMessage[]],
    someRan: boolean,
    records: readonly LedgerRecord[],
  ): Promise<JobInfo['status']> {
    const [first] = all;
    const { question } = first;
    switch (all.at(-1)?.transaction.status) {
      case 'succeed':
        return 'succeeded';
      case 'submitted':
        return 'submitted';
      case 'prepared':
        // Without a transaction that could roll back, it is submitted in any case: by the query-back, if by nobody before.
        return question.db === undefined || all.length > 1 ? 'submitted' : 'prepared';
      default:
        return all.length > 1 || someRan || records.some(({ state }) => state === 'dead') || (await this.#committed(question))
          ? 'failed'
          : 'rolled-back';
    }
  }

  /** DTM has one word for both: whether its transaction committed tells a failed job from one that was rolled back. */
  async #committed({ gid, instance, db }: Question): Promise<boolean> {
    if (db === undefined) return true;
    const database = this.#databases.find(db);
    if (database) return database.hasCommitted(gid, instance, db);
    throw new SteppingError(
      'DB_UNKNOWN',
      `Job ${gid} is over, but whether it failed or was rolled back only the database ${db.name} of ${db.provider} knows, which this process does not have. Ask a process that has it, or add it to use: […] of createStepping.`,
      { gid, db },
    );
  }
}

/** DTM comes at its time, and whoever comes too early for the ledger waits for its next one. */
function dueAt({ next_cron_time }: DtmTransaction, record: LedgerRecord | undefined): Date | undefined {
  const next = next_cron_time === undefined ? undefined : new Date(next_cron_time);
  const backoff = record?.state === 'open' ? record.dueAt : undefined;
  if (next === undefined || backoff === undefined) return backoff ?? next;
  return new Date(Math.max(backoff.getTime(), next.getTime()));
}

function attemptOf(record: LedgerRecord | undefined, generation: number): number {
  if (record === undefined || record.generation !== generation || record.state === 'done') return 1;
  return Math.max(1, record.attempts + (record.state === 'open' && !record.held ? 1 : 0));
}
