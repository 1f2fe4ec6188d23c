import { SteppingError } from '@stepping/core';
import type { Process, SeenJob, StepName, World } from './process.js';

/** One start of a job, and what its caller was told. */
export interface Start {
  readonly id: string;
  readonly gid: string;
  /** Its job has a gid of its own, that nobody else can have. */
  readonly drawn?: boolean;
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
  readonly startedAt = Date.now();
  /** How often the body of a transaction of ours has begun. */
  bodies = 0;
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

  start(steps: readonly StepName[], { tied, drawn = false, id = '1' }: { tied: boolean; drawn?: boolean; id?: string }): Start {
    const { gid } = this;
    const start: Start = { id: `${gid}/${id}`, gid, drawn, steps, tied };
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
      await process.business.inTransaction(process.stepping, {
        gid: start.drawn ? undefined : start.gid,
        deed: start.id,
        begins: () => {
          this.bodies++;
        },
        addSteps: (job) => {
          for (const step of start.steps) job.addStep(process.steps[step], { start: start.id });
        },
      });
      return 'yes';
    });
  }

  async plainStart(process: Process, start: Start): Promise<void> {
    await this.tell(process, start, async () => {
      const job = process.stepping.createJob(start.drawn ? {} : { gid: start.gid });
      for (const step of start.steps) job.addStep(process.steps[step], { start: start.id });
      const { duplicate } = await job.start();
      return duplicate ? 'no' : 'yes';
    });
  }

  /** A transaction that the user opened, with the deed in it, and its job, not prepared. */
  async byHand(process: Process, start: Start) {
    const held = await process.business.begin(start.id);
    const job = process.stepping.createJob({ gid: start.gid, transaction: held.transaction });
    for (const step of start.steps) job.addStep(process.steps[step], { start: start.id });
    return {
      job,
      held,
      commit: () => process.onConnection('user.commit', () => held.commit(), held.handle),
      rollback: () => process.onConnection('user.rollback', () => held.rollback(), held.handle),
    };
  }

  row(): Promise<SeenJob | undefined> {
    return this.b.find(this.world.jobGid);
  }

  /** Time passes for this job: its lease ends, or its backoff, or the wait before its database is asked. */
  timePasses(lease?: number): Promise<void> {
    return this.world.jobs.makeDue(this.world.jobGid, lease);
  }

  /** A long time passes after the end of all jobs. False: not now, a transaction is in the way. */
  async longAfter(): Promise<boolean> {
    return (await this.world.jobs.age()) && (await this.world.business.age());
  }

  /** By the process that has no accidents. Of jobs that are open, or whose barriers are held by a transaction, nothing is purged. */
  async purge(): Promise<void> {
    const row = await this.row();
    if (!row || !isFinal(row) || !(await this.longAfter())) return;
    await this.b.stepping.jobs.purge({ finishedBefore: new Date(Date.now() - 7_200_000) });
  }

  async committed({ id, gid }: Start): Promise<boolean> {
    return (await this.world.business.deedsOf(gid)).includes(id);
  }
}

export function isFinal(row: SeenJob | undefined): boolean {
  return row === undefined || !['prepared', 'submitted'].includes(row.status);
}

const PATIENCE_MS = 60_000;

export async function until(what: string, condition: () => boolean | Promise<boolean>): Promise<void> {
  const giveUpAt = performance.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (performance.now() > giveUpAt) throw new Error(`Waited in vain until ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}
