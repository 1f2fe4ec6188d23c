import { SteppingError } from '@stepping/core';
import { inTransaction, typeormTransaction } from '@stepping/db-typeorm';
import type { StoredJob } from '@stepping/tm-local';
import type { Process, StepName, World } from './process.js';

/** One start of a job, and what its caller was told. */
export interface Start {
  readonly id: string;
  readonly gid: string;
  readonly steps: readonly StepName[];
  /** Whether it was tied to a business transaction, which does the deed of this id. */
  readonly tied: boolean;
  /** `yes`: committed (or stored); `no`: a definite error; `unknown`: it said so itself; undefined: the caller died first. */
  told?: 'yes' | 'no' | 'unknown';
  error?: unknown;
  /** Its prepare threw: its steps must not run, even where its caller commits all the same. */
  refused?: boolean;
}

/** What a scenario works with: the process that has the accident (`a`), and one that has none (`b`). */
export class Stage {
  readonly a: Process;
  readonly b: Process;
  readonly world: World;
  readonly gid: string;
  readonly starts: Start[] = [];
  /** What the first process was to do is done, well or not. */
  acted = false;
  /** Verbs of operators that were acknowledged. */
  readonly done = new Set<string>();

  constructor(a: Process, b: Process, world: World, gid: string) {
    this.a = a;
    this.b = b;
    this.world = world;
    this.gid = gid;
  }

  start(steps: readonly StepName[], { tied, id = '1', gid = this.gid }: { tied: boolean; id?: string; gid?: string }): Start {
    const start: Start = { id: `${gid}/${id}`, gid, steps, tied };
    this.starts.push(start);
    return start;
  }

  /** Does what a caller does, and keeps what it was told. */
  async tell(process: Process, start: Start, work: () => Promise<'yes' | 'no' | 'unknown'>): Promise<void> {
    try {
      const told = await work();
      if (!process.dead) start.told = told;
    } catch (error) {
      if (process.dead) return;
      start.error = error;
      start.told = SteppingError.is(error, 'COMMIT_OUTCOME_UNKNOWN') || SteppingError.is(error, 'START_OUTCOME_UNKNOWN') ? 'unknown' : 'no';
    }
  }

  async inTransaction(process: Process, start: Start): Promise<void> {
    await this.tell(process, start, async () => {
      await inTransaction(process.stepping, { dataSource: process.dataSource, gid: start.gid }, async ({ queryRunner, job }) => {
        await queryRunner.query(`insert into deed (id) values ('${start.id}')`);
        for (const step of start.steps) job.addStep(process.steps[step], { start: start.id });
      });
      return 'yes';
    });
  }

  async plainStart(process: Process, start: Start): Promise<void> {
    await this.tell(process, start, async () => {
      const job = process.stepping.createJob({ gid: start.gid });
      for (const step of start.steps) job.addStep(process.steps[step], { start: start.id });
      const { duplicate } = await job.start();
      return duplicate ? 'no' : 'yes';
    });
  }

  /** A transaction that the user opened, with the deed in it, and its job, not prepared. */
  async byHand(process: Process, start: Start) {
    const runner = process.dataSource.createQueryRunner();
    await runner.startTransaction();
    await runner.query(`insert into deed (id) values ('${start.id}')`);
    const job = process.stepping.createJob({ gid: start.gid, transaction: typeormTransaction(runner) });
    for (const step of start.steps) job.addStep(process.steps[step], { start: start.id });
    return {
      job,
      runner,
      commit: () => process.byHand('user.commit', () => runner.commitTransaction(), runner),
      rollback: () => process.byHand('user.rollback', () => runner.rollbackTransaction(), runner),
      /** As an application does at the end, whatever happened. */
      async release() {
        if (runner.isTransactionActive && !runner.isReleased) await runner.rollbackTransaction().catch(() => {});
        await runner.release().catch(() => {});
      },
    };
  }

  row(): Promise<StoredJob | undefined> {
    return this.b.store.find(this.gid);
  }

  /** Time passes for this job: its lease ends, or its backoff, or the wait before its database is asked. */
  async timePasses(lease?: number): Promise<void> {
    const { store } = this.world;
    const ofLease = lease === undefined ? '' : ` and lease = ${lease}`;
    await store.run(`update stepping_job set due_at = ${store.now} where gid = ? and due_at is not null${ofLease}`, [this.gid]);
  }

  /** A long time passes after the end of all jobs. */
  async longAfter(): Promise<void> {
    const { store, business } = this.world;
    await store.run(`update stepping_job set finished_at = ${store.longAgo} where finished_at is not null`);
    await business.run("update stepping_barrier set created_at = '2000-01-01 00:00:00'");
  }

  /** By the process that has no accidents. Of jobs that are open, or whose barriers are held by a transaction, nothing is purged. */
  async purge(): Promise<void> {
    const row = await this.row();
    if (!row || !isFinal(row)) return;
    try {
      await this.longAfter();
    } catch (error) {
      if (/^(SQLITE_BUSY|ER_LOCK_WAIT_TIMEOUT)/.test((error as { code?: string }).code ?? '')) return;
      throw error;
    }
    await this.b.stepping.jobs.purge({ finishedBefore: new Date(Date.now() - 7_200_000) });
  }

  barriers(): Promise<{ gid: string; reason: string }[]> {
    return this.world.business.run('select gid, reason from stepping_barrier where gid = ?', [this.gid]);
  }

  async committed({ id }: Start): Promise<boolean> {
    return (await this.world.business.run('select id from deed where id = ?', [id])).length === 1;
  }
}

export function isFinal(row: StoredJob | undefined): boolean {
  return row === undefined || !['prepared', 'submitted'].includes(row.status);
}

const PATIENCE_MS = 15_000;

export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (performance.now() > giveUpAt) throw new Error(`Waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
