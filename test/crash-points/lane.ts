import assert from 'node:assert/strict';
import { type Accident, describeAccident } from './accidents.js';
import { audit } from './audit.js';
import type { Database, DatabaseKind, Jobs } from './databases.js';
import { Process, SHORT_LEASE_MS, type World } from './process.js';
import type { Scenario } from './scenarios.js';
import { isFinal, Stage, until } from './stage.js';

/** How fast jobs are moved on. Unit: ms. */
export interface Pace {
  /** A job that nobody has touched for so long is touched by nobody: its lease may end now. */
  readonly quiet: number;
  /** The same where its holder is dead or asleep. */
  readonly quietWithoutHolder: number;
  /** What a sleeping process leaves to the others, where they have to wait for it. */
  readonly sleep: number;
  /** What others may do before a call lands that somebody waits for. */
  readonly beforeLanding: number;
  /** How long an end has to last to be one: the answer of a server may come before it has written all that follows from it. */
  readonly lasting: number;
  readonly run: number;
}

/** Who keeps the jobs of a lane. */
export interface Keeper {
  readonly pace: Pace;
  newGid(label: string): string;
  /** As the harness sees them, where their database is this one. */
  jobsIn(store: Database): Jobs;
  start(name: string, databases: LaneDatabases, world: () => World, leaseMs: number | undefined): Promise<Process>;
}

interface LaneDatabases {
  readonly store: Database;
  readonly business: Database;
}

export const LOCAL: Keeper = {
  pace: { quiet: 120, quietWithoutHolder: 25, sleep: 300, beforeLanding: 300, lasting: 0, run: 20_000 },
  newGid: (label) => label,
  jobsIn: (store) => store.jobs,
  start: (...how) => Process.start(...how),
};

let lanes = 0;
let opened = 0;

/** On a slow machine a run may take another way (a lease ends, a poll comes first) and not make the call at all. */
export class AccidentMissed extends Error {
  constructor(calls: readonly string[]) {
    super(`The accident did not happen; calls: ${calls.join()}`);
  }
}

/** One or two databases and the processes on them, for one run after another. */
export class Lane {
  readonly #id = ++lanes;
  readonly #keeper: Keeper;
  readonly #databases: LaneDatabases;
  #world!: World;
  #a: Process | undefined;
  #aLease: number | undefined;
  #b!: Process;
  #processes = 0;
  #runs = 0;
  readonly #stopping: Promise<void>[] = [];
  /** Runs that went well, by their gids: of those that did not it is of no interest what becomes of their jobs. */
  readonly #former = new Map<string, string>();

  private constructor(keeper: Keeper, databases: LaneDatabases) {
    this.#keeper = keeper;
    this.#databases = databases;
  }

  static async open(store: DatabaseKind, business?: DatabaseKind, keeper = LOCAL): Promise<Lane> {
    const id = `${process.pid}-${++opened}`;
    const storeDatabase = await store.open(`store-${id}`);
    const lane = new Lane(keeper, { store: storeDatabase, business: business ? await business.open(`business-${id}`) : storeDatabase });
    await lane.#databases.business.business.setUp();
    lane.#b = await lane.#start('b');
    return lane;
  }

  async close(): Promise<void> {
    if (this.#a) this.#dismiss(this.#a);
    this.#dismiss(this.#b);
    // One that hangs has had its failure already.
    await Promise.race([Promise.all(this.#stopping), new Promise((resolve) => setTimeout(resolve, 5_000).unref())]);
    for (const database of new Set(Object.values(this.#databases))) await database.close();
  }

  /** Runs a scenario with one accident (or none), recovers, audits. Gives back the calls of the first process. */
  async run(scenario: Scenario, accident: Accident | undefined): Promise<readonly string[]> {
    const gid = this.#keeper.newGid(`job-${this.#id}-${++this.#runs}`);
    const a = await this.#first(scenario);
    const b = this.#b;
    const trace: World['trace'] = [];
    this.#world = {
      jobs: this.#keeper.jobsIn(this.#databases.store),
      business: this.#databases.business.business,
      gid,
      jobGid: gid,
      trace,
      behaviour: (step, context, process) => scenario.behaviour?.(stage, step, context, process) ?? Promise.resolve(),
    };
    const stage = new Stage(a, b, this.#world, gid);
    await this.#clear();
    a.reset(undefined);
    b.reset(undefined);
    await scenario.setUp?.(stage);
    a.reset(accident);
    a.claims = true;
    try {
      const describe = () => `acted: ${stage.acted}, calls: ${a.calls.join()}`;
      const calls = await inTime(this.#keeper.pace.run, this.#runOn(stage, scenario, accident), describe);
      this.#former.set(gid, `${scenario.name}${accident ? `: ${describeAccident(accident)}` : ''}`);
      return calls;
    } catch (error) {
      // What is left of it must not disturb the next run.
      await Promise.all([a, b].map((process) => process.die().catch(() => process.wake())));
      this.#dismiss(a, b);
      this.#a = undefined;
      this.#b = await this.#start('b');
      throw error;
    }
  }

  async #runOn(stage: Stage, scenario: Scenario, accident: Accident | undefined): Promise<readonly string[]> {
    const { a, b } = stage;
    const { pace } = this.#keeper;
    const quiet = (lastingMs = 0) => untilQuiet(stage, pace, lastingMs);
    const acted = scenario.act(stage).catch((error) => {
      if (!a.dead) throw error;
    });
    acted.then(
      () => {
        stage.acted = true;
      },
      () => {
        stage.acted = true;
      },
    );
    const landing = new Promise<void>((resolve) => {
      a.onLate = () => setTimeout(resolve, pace.beforeLanding);
    });
    await Promise.race([acted, landing, until('the accident has happened', () => a.dead || a.asleep || stage.acted)]);
    await until('the job has ended, or had its accident', async () => a.happened || isFinal(await stage.row()));
    const calls = [...a.calls];
    if (accident && !a.happened) throw new AccidentMissed(calls);

    b.claims = true;
    await a.death;
    if (accident?.kind === 'lands during recovery') await land(stage);
    if (a.asleep) {
      await atMost(pace.sleep, quiet());
      if (accident?.kind === 'sleeps past the purge') await stage.purge();
      a.wake();
    }
    // While a transaction is open nobody may decide what became of it.
    await (a.late && accident?.call.endsWith('.commit') ? atMost(pace.sleep, quiet()) : quiet());
    if (accident?.kind === 'lands at the end') {
      await land(stage);
      await quiet();
    }
    if (!a.dead) await acted;
    await quiet(pace.lasting);
    await audit(stage, scenario, accident);
    await scenario.check?.(stage);
    await quiet(); // it may have started something itself
    this.#auditFormerRuns(stage);
    return calls;
  }

  #auditFormerRuns({ world: { trace } }: Stage): void {
    const strays = trace.flatMap(({ start, step, what }) => {
      const former = this.#former.get(start.slice(0, start.lastIndexOf('/')));
      return former ? [`${what} ${step} of ${former}`] : [];
    });
    assert.deepEqual(strays, [], `Steps ran of a run that was over: ${strays}`);
  }

  #dismiss(...processes: Process[]): void {
    for (const process of processes) this.#stopping.push(process.stop());
  }

  async #first(scenario: Scenario): Promise<Process> {
    const lease = scenario.shortLease ? SHORT_LEASE_MS : undefined;
    if (this.#a && !this.#a.dead && !this.#a.stopped && this.#aLease === lease) return this.#a;
    if (this.#a) this.#dismiss(this.#a);
    this.#aLease = lease;
    this.#a = await this.#start('a', lease);
    return this.#a;
  }

  #start(name: string, lease?: number): Promise<Process> {
    // A server knows whose a connection is by this name, and other test files have processes on it, too.
    const unique = `${name}-${process.pid}-${this.#id}-${++this.#processes}`;
    return this.#keeper.start(unique, this.#databases, () => this.#world, lease);
  }

  async #clear(): Promise<void> {
    const { store, business } = this.#databases;
    await this.#keeper.jobsIn(store).clear();
    await business.business.clear();
  }
}

/** A run that hangs is a failure of its own. */
async function inTime<R>(ms: number, run: Promise<R>, describe: () => string): Promise<R> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`It hangs; ${describe()}`)), ms);
  try {
    return await Promise.race([run, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Goes on after a while, ended or not. */
async function atMost(ms: number, work: Promise<unknown>): Promise<void> {
  await Promise.race([work, new Promise((resolve) => setTimeout(resolve, ms))]);
}

async function land({ a }: Stage): Promise<void> {
  const { late } = a;
  a.late = undefined;
  await late?.().catch(() => {});
}

/** Everybody recovers, until nothing is left to be done; time passes quickly for a job that nobody touches. */
async function untilQuiet(stage: Stage, pace: Pace, lastingMs: number): Promise<void> {
  const { a, b } = stage;
  let last = '';
  let since = performance.now();
  let describe = '';
  await until('', async () => {
    const row = await stage.row();
    const seen = JSON.stringify([row?.status, row?.lease, row?.step, row?.attempt]);
    const now = performance.now();
    if (seen !== last || b.running > 0 || (a.running > 0 && !a.dead && !a.asleep)) since = now;
    last = seen;
    if (isFinal(row) && (stage.acted || a.dead || a.asleep || a.late)) return now - since >= lastingMs;
    describe = `${seen}, acted: ${stage.acted}`;
    if (row && now - since > (a.dead || a.asleep ? pace.quietWithoutHolder : pace.quiet)) {
      await stage.timePasses(row.lease);
      since = now;
    }
    return false;
  }).catch((cause) => {
    throw new Error(`The job does not come to an end: ${describe} (${cause.message})`, { cause });
  });
}
