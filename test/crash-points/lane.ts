import type { Accident } from './accidents.js';
import { audit } from './audit.js';
import type { Database, DatabaseKind } from './databases.js';
import { Process, SHORT_LEASE_MS, type World } from './process.js';
import type { Scenario } from './scenarios.js';
import { isFinal, Stage, until } from './stage.js';

/** A job that nobody has touched for so long is touched by nobody: its lease may end now. Unit: ms. */
const QUIET_MS = 120;
/** The same where its holder is dead or asleep. Unit: ms. */
const QUIET_WITHOUT_HOLDER_MS = 25;
/** What a sleeping process leaves to the others, where they have to wait for it. Unit: ms. */
const SLEEP_MS = 300;

/** What others may do before a call lands that somebody waits for. Unit: ms. */
const BEFORE_LANDING_MS = 300;
const RUN_TIMEOUT_MS = 20_000;

let lanes = 0;

/** On a slow machine a run may take another way (a lease ends, a poll comes first) and not make the call at all. */
export class AccidentMissed extends Error {
  constructor(calls: readonly string[]) {
    super(`The accident did not happen; calls: ${calls.join()}`);
  }
}

/** One or two databases and the processes on them, for one run after another. */
export class Lane {
  readonly #id = ++lanes;
  readonly #databases: { readonly store: Database; readonly business: Database };
  #world!: World;
  #a: Process | undefined;
  #aLease: number | undefined;
  #b!: Process;
  #processes = 0;
  #runs = 0;
  readonly #stopping: Promise<void>[] = [];

  private constructor(databases: { store: Database; business: Database }) {
    this.#databases = databases;
  }

  static async open(store: DatabaseKind, business: DatabaseKind | undefined): Promise<Lane> {
    const id = `${process.pid}-${lanes + 1}`;
    const storeDatabase = await store.open(`store-${id}`);
    const lane = new Lane({ store: storeDatabase, business: business ? await business.open(`business-${id}`) : storeDatabase });
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
    const gid = `job-${this.#id}-${++this.#runs}`;
    const a = await this.#first(scenario);
    const b = this.#b;
    const trace: World['trace'] = [];
    this.#world = {
      jobs: this.#databases.store.jobs,
      business: this.#databases.business.business,
      gid,
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
      return await inTime(this.#runOn(stage, scenario, accident), () => `acted: ${stage.acted}, calls: ${a.calls.join()}`);
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
      a.onLate = () => setTimeout(resolve, BEFORE_LANDING_MS);
    });
    await Promise.race([acted, landing, until('the accident has happened', () => a.dead || a.asleep || stage.acted)]);
    await until('the job has ended, or had its accident', async () => a.happened || isFinal(await stage.row()));
    const calls = [...a.calls];
    if (accident && !a.happened) throw new AccidentMissed(calls);

    b.claims = true;
    await a.death;
    if (accident?.kind === 'lands during recovery') await land(stage);
    if (a.asleep) {
      await atMost(SLEEP_MS, quiet(stage));
      if (accident?.kind === 'sleeps past the purge') await stage.purge();
      a.wake();
    }
    // While a transaction is open nobody may decide what became of it.
    await (a.late && accident?.call.endsWith('.commit') ? atMost(SLEEP_MS, quiet(stage)) : quiet(stage));
    if (accident?.kind === 'lands at the end') {
      await land(stage);
      await quiet(stage);
    }
    if (!a.dead) await acted;
    await quiet(stage);
    await audit(stage, scenario, accident);
    await scenario.check?.(stage);
    return calls;
  }

  #dismiss(...processes: Process[]): void {
    for (const process of processes) this.#stopping.push(process.stop());
  }

  async #first(scenario: Scenario): Promise<Process> {
    const lease = scenario.shortLease ? SHORT_LEASE_MS : undefined;
    if (this.#a && !this.#a.dead && this.#aLease === lease) return this.#a;
    if (this.#a) this.#dismiss(this.#a);
    this.#aLease = lease;
    this.#a = await this.#start('a', lease);
    return this.#a;
  }

  #start(name: string, lease?: number): Promise<Process> {
    return Process.start(`${name}-${this.#id}-${++this.#processes}`, this.#databases, () => this.#world, lease);
  }

  async #clear(): Promise<void> {
    const { store, business } = this.#databases;
    await store.jobs.clear();
    await business.business.clear();
  }
}

/** A run that hangs is a failure of its own. */
async function inTime<R>(run: Promise<R>, describe: () => string): Promise<R> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`It hangs; ${describe()}`)), RUN_TIMEOUT_MS);
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
async function quiet(stage: Stage): Promise<void> {
  const { a, b } = stage;
  let last = '';
  let since = performance.now();
  let describe = '';
  await until('', async () => {
    const row = await stage.row();
    if (isFinal(row) && (stage.acted || a.dead || a.asleep || a.late)) return true;
    const seen = JSON.stringify([row?.status, row?.lease, row?.step, row?.attempt]);
    const now = performance.now();
    if (seen !== last || b.running > 0 || (a.running > 0 && !a.dead && !a.asleep)) since = now;
    last = seen;
    describe = `${seen}, acted: ${stage.acted}`;
    if (row && now - since > (a.dead || a.asleep ? QUIET_WITHOUT_HOLDER_MS : QUIET_MS)) {
      await stage.timePasses(row.lease);
      since = now;
    }
    return false;
  }).catch(() => {
    throw new Error(`The job does not come to an end: ${describe}`);
  });
}
