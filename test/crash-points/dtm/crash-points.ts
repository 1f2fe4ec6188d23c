import assert from 'node:assert/strict';
import { afterAll, describe, it } from '@jest/globals';
import { type DtmServerProcess, startDtm } from '@stepping/test-services';
import type { Accident } from '../accidents.js';
import { nameOf, pointsOf, recordedCalls, runPoint } from '../crash-points.js';
import type { DatabaseKind } from '../databases.js';
import { Lane } from '../lane.js';
import type { Scenario } from '../scenarios.js';
import { callsToCoverOnDtm } from './boundaries.js';
import { Callbacks } from './callbacks.js';
import { DtmKeeper } from './keeper.js';
import { DTM_SCENARIOS } from './scenarios.js';

/** A world whose jobs are on DTM servers. */
export interface DtmWorld {
  readonly name: string;
  readonly business: DatabaseKind;
  /** Runs that go on at the same time, each on a database of its own: most of the time they wait for DTM, which counts in seconds. */
  readonly lanes: number;
  /** Default: all that can happen. */
  isPoint?(accident: Accident): boolean;
}

/**
 * For a second database and a third: all that happens to calls to it; and that a process dies beside a call by which the DTM server is told of a transaction, after which nobody but the database knows. What else the
 * server or a step hears, or not, makes no difference there.
 */
export function dependsOnDatabase({ kind, call }: Accident): boolean {
  if (/^server\.(prepare|submit|abort)$/.test(call)) return kind.startsWith('crash');
  return /^(transaction|user|db|once|ledger)\./.test(call) && call !== 'ledger.read';
}

/** One loop of DTM makes all repeats of a server, one after another: a callback that waits for a transaction holds up the others. */
const SERVERS = 4;
/** Of all scenarios together: they go on at the same time. */
const TIMEOUT_MS = 480_000;
// biome-ignore lint/suspicious/noUndeclaredEnvVars: tests are not run by turbo
const ONLY = process.env.STEPPING_CRASH_POINT;

/** Every scenario with every accident at every call to the DTM server, to the ledger and to the business database, and of the server to a process. */
export function describeCrashPointsOnDtm(world: DtmWorld): void {
  const { name, business, isPoint = () => true } = world;
  const scenarios = DTM_SCENARIOS.filter(({ repeats }) => business.repeats || !repeats);

  describe(`crash points on DTM, with the business in ${name},`, () => {
    const lanes = new Lanes(world);
    afterAll(() => lanes.close(), TIMEOUT_MS);

    it.concurrent.each(scenarios.map((scenario) => [scenario.name, scenario] as const))(
      '%s',
      async (_, scenario) => {
        const calls = scenario.calls.dtm ?? [];
        const recorded = await lanes.use((lane) => recordedCalls(lane, scenario, calls));
        assert.deepEqual(recorded, calls, 'Calls across a boundary that the scenario does not list, or in another order');
        const points = pointsOf(scenario, 'dtm', business).filter((point) => (ONLY ? ONLY === nameOf(scenario, point) : isPoint(point)));
        const failures = await Promise.all(points.map((point) => lanes.use((lane) => failureOf(lane, scenario, point))));
        const failed = failures.filter((failure) => failure !== undefined);
        assert.deepEqual(failed, [], `${failed.length} of ${points.length} points`);
      },
      TIMEOUT_MS,
    );
  });
}

/** That each boundary call is made by some scenario: a call without one would have no accident. */
export function itCoversEveryCallOnDtm(): void {
  it('has a scenario for every call across a boundary, on DTM', () => {
    const covered = new Set(DTM_SCENARIOS.flatMap(({ calls }) => calls.dtm ?? []));
    assert.deepEqual(
      callsToCoverOnDtm().filter((call) => !covered.has(call)),
      [],
    );
  });
}

async function failureOf(lane: Lane, scenario: Scenario, point: Accident): Promise<string | undefined> {
  try {
    await runPoint(lane, scenario, point);
    return undefined;
  } catch (error) {
    return `STEPPING_CRASH_POINT='${nameOf(scenario, point)}': ${(error as Error).message}`;
  }
}

/** Opened when they are first needed: concurrent tests begin before any hook. */
class Lanes {
  readonly #world: DtmWorld;
  readonly #free: Lane[] = [];
  readonly #waiting: ((lane: Lane) => void)[] = [];
  readonly #opened: Lane[] = [];
  #opening: Promise<void> | undefined;
  #callbacks: Callbacks | undefined;

  constructor(world: DtmWorld) {
    this.#world = world;
  }

  async use<R>(work: (lane: Lane) => Promise<R>): Promise<R> {
    this.#opening ??= this.#open();
    await this.#opening;
    const lane = this.#free.pop() ?? (await new Promise<Lane>((resolve) => this.#waiting.push(resolve)));
    try {
      return await work(lane);
    } finally {
      const next = this.#waiting.shift();
      if (next) next(lane);
      else this.#free.push(lane);
    }
  }

  async close(): Promise<void> {
    await Promise.all(this.#opened.map((lane) => lane.close()));
    await this.#callbacks?.close();
  }

  async #open(): Promise<void> {
    const { business, lanes } = this.#world;
    const callbacks = await Callbacks.listen();
    this.#callbacks = callbacks;
    const servers = await Promise.all(Array.from({ length: SERVERS }, () => startDtm()));
    for (let i = 0; i < lanes; i++) {
      const { url } = servers[i % SERVERS] as DtmServerProcess;
      const lane = await Lane.open(business, undefined, new DtmKeeper(url, callbacks));
      this.#opened.push(lane);
      this.#free.push(lane);
    }
  }
}
