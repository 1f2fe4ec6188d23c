import { answerByRow, type CreateAnswer, type CreateJob, type FoundRow, WriteRefused } from '@stepping/tm-local';
import { isLockTimeout, isUniqueViolation } from '@stepping/typeorm';
import { orRefused } from '../refused.js';
import { again, type MysqlSend } from './mysql-lane.js';
import { batch, createRow, foundRow, reviveValues } from './mysql-rows.js';
import type { MysqlStatements } from './mysql-statements.js';

/** A row that is purged or revived by others between two statements is looked at again, so many times. */
const MAX_ROUNDS = 4;
/** Steps in one statement: the server refuses a packet that is too large. Unit: characters. */
const MAX_CHARACTERS = 4_000_000;

/** Inserts a batch and answers by the rows found (R4); see `TransactionStore.create`. On a connection with autocommit and a short lock timeout. */
export async function createJobs(send: MysqlSend, sql: MysqlStatements, jobs: readonly CreateJob[]): Promise<readonly CreateAnswer[]> {
  const creation = new Creation(send, sql);
  for (const part of bySize(jobs)) await creation.run(part);
  return jobs.map(({ gid }) => creation.answers.get(gid) ?? { outcome: 'in-doubt' });
}

class Creation {
  readonly answers = new Map<string, CreateAnswer>();
  readonly #send: MysqlSend;
  readonly #sql: MysqlStatements;
  // A part may be refused after another one was written: then it is no longer true that nothing was.
  #written = false;

  constructor(send: MysqlSend, sql: MysqlStatements) {
    this.#send = send;
    this.#sql = sql;
  }

  async run(jobs: readonly CreateJob[]): Promise<void> {
    await this.#rounds(jobs);
    const open = this.#open(jobs);
    // Others took one gid after the other meanwhile; each of the rest by itself then.
    if (open.length > 1) for (const job of open) await this.#rounds([job]);
  }

  async #rounds(jobs: readonly CreateJob[]): Promise<void> {
    let open = jobs;
    for (let round = 0; round < MAX_ROUNDS && open.length > 0; round++) {
      const obstacle = await this.#insert(open);
      if (obstacle === undefined) return;
      const found = await this.#find(open, this.#sql.findOwners);
      if (obstacle === 'locked') await this.#setLockedAside(open, found);
      else for (const job of open) await this.#answer(job, found.get(job.gid));
      open = this.#open(open);
    }
  }

  /** All of them, or none: one is taken, or locked in somebody's transaction. */
  async #insert(jobs: readonly CreateJob[]): Promise<'taken' | 'locked' | undefined> {
    try {
      await this.#write(this.#sql.insertJobs, [batch(jobs, createRow)]);
      for (const { gid, lease } of jobs) this.answers.set(gid, { outcome: 'stored', lease });
      return undefined;
    } catch (error) {
      const cause = error instanceof WriteRefused ? error.cause : error;
      if (isUniqueViolation(cause)) return 'taken';
      if (isLockTimeout(cause)) return 'locked';
      throw error;
    }
  }

  async #answer(job: CreateJob, row: FoundRow | undefined): Promise<void> {
    if (row === undefined) return; // not taken, or purged meanwhile: insert it
    const answer = answerByRow(job, row);
    if (answer !== 'revive') {
      this.answers.set(job.gid, answer);
      return;
    }
    try {
      const { affected } = await this.#write(this.#sql.reviveJob, reviveValues(job, row.lease));
      if (affected === 1) this.answers.set(job.gid, { outcome: 'stored', lease: row.lease + 1 });
    } catch (error) {
      if (!isLockTimeout(error instanceof WriteRefused ? error.cause : error)) throw error;
      this.answers.set(job.gid, { outcome: 'locked' });
    }
  }

  /**
   * Which gids of a batch made it wait: those that look different to a dirty read, which sees what is not committed. To wait for each half of a batch again would hold up
   * all creates for many seconds.
   */
  async #setLockedAside(jobs: readonly CreateJob[], committed: ReadonlyMap<string, FoundRow>): Promise<void> {
    const dirty = await this.#find(jobs, `set transaction isolation level read uncommitted; ${this.#sql.findOwners}`);
    const locked = jobs.filter(({ gid }) => {
      const [now, then] = [dirty.get(gid), committed.get(gid)];
      return now?.lease !== then?.lease || now?.instance !== then?.instance || now?.status !== then?.status;
    });
    // None: rows of these gids are locked for another reason. Each that starts alone will wait for its own.
    for (const { gid } of locked.length > 0 ? locked : jobs) this.answers.set(gid, { outcome: 'locked' });
  }

  async #find(jobs: readonly CreateJob[], statement: string): Promise<ReadonlyMap<string, FoundRow>> {
    const { rows } = await this.#send.query(statement, [batch(jobs, ({ gid }) => [gid])]);
    return new Map(rows.map((row) => [row[0], foundRow(row)]));
  }

  async #write(statement: string, values: Parameters<MysqlSend['execute']>[1]): Promise<{ affected: number }> {
    const sent = again(() => this.#send.execute(statement, values));
    const result = await (this.#written ? sent : orRefused(sent));
    this.#written ||= result.affected > 0;
    return result;
  }

  #open(jobs: readonly CreateJob[]): readonly CreateJob[] {
    return jobs.filter(({ gid }) => !this.answers.has(gid));
  }
}

function bySize(jobs: readonly CreateJob[]): CreateJob[][] {
  const parts: CreateJob[][] = [];
  let size = Number.POSITIVE_INFINITY;
  for (const job of jobs) {
    size += job.steps.length;
    if (size > MAX_CHARACTERS) {
      parts.push([]);
      size = job.steps.length;
    }
    parts.at(-1)?.push(job);
  }
  return parts;
}
