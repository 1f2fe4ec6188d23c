import { answerByRow, type CreateAnswer, type CreateJob, WriteRefused } from '@stepping/tm-local';
import { isLockTimeout } from '@stepping/typeorm';
import { orRefused } from '../refused.js';
import type { PostgresRow, PostgresStatement, Send } from './postgres-lane.js';
import { createValues, foundRow } from './postgres-rows.js';
import type { PostgresStatements } from './postgres-statements.js';

/** How long a batch waits for gids that are uncommitted elsewhere, before it is split to find them. Unit: ms. */
export const LOCK_TIMEOUT_MS = 200;
/** The same for the parts: what was locked a moment ago most likely still is, and all other creates wait. Unit: ms. */
const SPLIT_LOCK_TIMEOUT_MS = 20;
/** A row that is purged or revived by others between two statements is looked at again, so many times. */
const MAX_ROUNDS = 4;

const SET_LOCK_TIMEOUT: PostgresStatement = { name: 'stepping_lockTimeout', text: "select set_config('lock_timeout', $1, false)" };

/** How long statements of this connection wait for a lock from now on. */
export async function setLockTimeout(send: Send, ms: number): Promise<void> {
  await send(SET_LOCK_TIMEOUT, [`${Math.ceil(ms)}ms`]);
}

/** Inserts a batch and answers by the rows found (R4); see `TransactionStore.create`. `lockTimeoutMs` is that of the connection. */
export async function createJobs(
  send: Send,
  sql: PostgresStatements,
  jobs: readonly CreateJob[],
  lockTimeoutMs: number,
): Promise<readonly CreateAnswer[]> {
  const creation = new Creation(send, sql, lockTimeoutMs);
  await creation.run(jobs);
  return jobs.map(({ gid }) => creation.answers.get(gid) ?? { outcome: 'in-doubt' });
}

class Creation {
  readonly answers = new Map<string, CreateAnswer>();
  readonly #send: Send;
  readonly #sql: PostgresStatements;
  readonly #lockTimeoutMs: number;
  // A part of a batch that was split may be refused after another one was written: then it is no longer true that nothing was.
  #written = false;

  constructor(send: Send, sql: PostgresStatements, lockTimeoutMs: number) {
    this.#send = send;
    this.#sql = sql;
    this.#lockTimeoutMs = lockTimeoutMs;
  }

  async run(jobs: readonly CreateJob[]): Promise<void> {
    let open = jobs;
    for (let round = 0; round < MAX_ROUNDS && open.length > 0; round++) {
      await this.#insert(open);
      open = open.filter(({ gid }) => !this.answers.has(gid));
      if (open.length > 0) await this.#answerByRows(open);
      open = open.filter(({ gid }) => !this.answers.has(gid));
    }
  }

  async #insert(jobs: readonly CreateJob[]): Promise<void> {
    await this.#writeOrSplit(jobs, async (part) => {
      const inserted = new Set((await this.#write(this.#sql.insertJobs, createValues(part))).map(([gid]) => gid));
      for (const { gid, lease } of part) if (inserted.has(gid)) this.#stored(gid, lease);
    });
  }

  async #answerByRows(jobs: readonly CreateJob[]): Promise<void> {
    const rows = await this.#send(this.#sql.findOwners, [jobs.map(({ gid }) => gid)]);
    const found = new Map(rows.map((row) => [row[0] as string, foundRow(row)]));
    const revivals: CreateJob[] = [];
    for (const job of jobs) {
      const row = found.get(job.gid);
      if (row === undefined) continue; // purged meanwhile: insert it after all
      const answer = answerByRow(job, row);
      if (answer === 'revive') revivals.push(job);
      else this.answers.set(job.gid, answer);
    }
    if (revivals.length === 0) return;
    await this.#writeOrSplit(revivals, async (part) => {
      const values = createValues(part, ({ gid }) => found.get(gid)?.lease ?? 0);
      for (const [gid, lease] of await this.#write(this.#sql.reviveJobs, values)) this.#stored(gid as string, Number(lease));
    });
  }

  #stored(gid: string, lease: number): void {
    this.answers.set(gid, { outcome: 'stored', lease });
  }

  async #write(statement: PostgresStatement, values: readonly unknown[]): Promise<readonly PostgresRow[]> {
    const sent = this.#send(statement, values);
    const rows = await (this.#written ? sent : orRefused(sent));
    this.#written ||= rows.length > 0;
    return rows;
  }

  /** Halves a batch that met a lock, until the locked gids are alone. */
  async #writeOrSplit(jobs: readonly CreateJob[], write: (part: readonly CreateJob[]) => Promise<void>): Promise<void> {
    if (await this.#unlessLocked(jobs, write)) return;
    if (jobs.length === 1) return this.#split(jobs, write);
    await setLockTimeout(this.#send, SPLIT_LOCK_TIMEOUT_MS);
    try {
      await this.#split(jobs, write);
    } finally {
      await setLockTimeout(this.#send, this.#lockTimeoutMs);
    }
  }

  async #split(jobs: readonly CreateJob[], write: (part: readonly CreateJob[]) => Promise<void>): Promise<void> {
    if (jobs.length === 1) {
      for (const { gid } of jobs) this.answers.set(gid, { outcome: 'locked' });
      return;
    }
    const half = jobs.length >> 1;
    for (const part of [jobs.slice(0, half), jobs.slice(half)]) {
      if (!(await this.#unlessLocked(part, write))) await this.#split(part, write);
    }
  }

  async #unlessLocked(jobs: readonly CreateJob[], write: (part: readonly CreateJob[]) => Promise<void>): Promise<boolean> {
    try {
      await write(jobs);
      return true;
    } catch (error) {
      if (isLockTimeout(error instanceof WriteRefused ? error.cause : error)) return false;
      throw error;
    }
  }
}
