import assert from 'node:assert/strict';
import { afterAll, beforeAll, describe, it } from '@jest/globals';
import { ACCIDENTS, type Accident, type AccidentKind, describeAccident } from './accidents.js';
import { callsToCover } from './boundaries.js';
import type { DatabaseKind } from './databases.js';
import { AccidentMissed, Lane } from './lane.js';
import { type Path, SCENARIOS, type Scenario } from './scenarios.js';

/** Databases of a world: where the jobs are, and the business transactions (undefined: in the same). */
export interface Databases {
  readonly name: string;
  readonly store: DatabaseKind;
  readonly business?: DatabaseKind;
  /** Which points are run; default: all. */
  readonly isPoint?: (point: Accident) => boolean;
}

/** Runs that go on at the same time, each on databases of its own. */
const LANES = 4;
/** Runs one point of the enumeration: `STEPPING_CRASH_POINT='purge: crash after @ store.startPurge #1'`. */
// biome-ignore lint/suspicious/noUndeclaredEnvVars: tests are not run by turbo
const ONLY = process.env.STEPPING_CRASH_POINT;
const SCENARIO_TIMEOUT_MS = 120_000;
/** Of one point, whose accident did not happen in those before. */
const MAX_RUNS = 5;

/** Every scenario with every accident at every call, on these databases. */
export function describeCrashPoints(databases: Databases): void {
  const path: Path = databases.business ? 'two-phase' : 'enlisted';
  const { business = databases.store, isPoint = () => true } = databases;
  const scenarios = SCENARIOS.filter(
    ({ calls, rowLocks, repeats }) => calls[path] && (business.isServer || !rowLocks) && (business.repeats || !repeats),
  );

  describe(`crash points on ${databases.name}`, () => {
    let lanes: Lane[] = [];

    beforeAll(async () => {
      for (let i = 0; i < LANES; i++) lanes.push(await Lane.open(databases.store, databases.business));
    }, SCENARIO_TIMEOUT_MS);

    afterAll(async () => {
      await Promise.all(lanes.map((lane) => lane.close()));
      lanes = [];
    }, SCENARIO_TIMEOUT_MS);

    it.each(scenarios.map((scenario) => [scenario.name, scenario] as const))(
      '%s',
      async (_, scenario) => {
        const calls = scenario.calls[path] ?? [];
        const recorded = await recordedCalls(lanes[0] as Lane, scenario, calls);
        assert.deepEqual(recorded, calls, 'Calls across a boundary that the scenario does not list, or in another order');
        const points = pointsOf(scenario, path, business)
          .filter(isPoint)
          .filter((point) => !ONLY || ONLY === nameOf(scenario, point));
        const failures = await runAll(lanes, scenario, points);
        assert.deepEqual(failures, [], `${failures.length} of ${points.length} points`);
      },
      SCENARIO_TIMEOUT_MS,
    );
  });
}

/** That each boundary call is made by some scenario: a call without one would have no accident. */
export function itCoversEveryCall(): void {
  it('has a scenario for every call across a boundary', () => {
    const covered = new Set(SCENARIOS.flatMap(({ calls }) => Object.values(calls).flat()));
    assert.deepEqual(
      callsToCover().filter((call) => !covered.has(call)),
      [],
    );
  });
}

export function nameOf({ name }: Scenario, accident: Accident): string {
  return `${name}: ${describeAccident(accident)}`;
}

/** The calls of a run without an accident; of several, if time made it take another way. */
export async function recordedCalls(lane: Lane, scenario: Scenario, calls: readonly string[]): Promise<readonly string[]> {
  for (let run = 1; ; run++) {
    const recorded = withoutPolls(await lane.run(scenario, undefined), calls);
    if (run === MAX_RUNS || recorded.join() === calls.join()) return recorded;
  }
}

/** A lease is renewed, and a job claimed again, when time says so: those that the scenario does not list are left out. */
function withoutPolls(recorded: readonly string[], listed: readonly string[]): string[] {
  return recorded.filter((call, i) => {
    if (call.endsWith('.extend')) return listed.includes(call) && recorded.indexOf(call) === i;
    // One page or several, by how many jobs of others the server has.
    if (call === 'server.all') return recorded.indexOf(call) === i;
    // The server asks again for a step that takes its time, and one that is done.
    if (call === 'callback.step') return recorded[i + 1] === 'ledger.begin' && recorded[i + 2]?.startsWith('step.');
    if (call === 'ledger.begin') return recorded[i + 1]?.startsWith('step.');
    // Where the prepare is long ago, the server is asked first.
    if (call === 'server.query' && /^server\.(submit|abort)$/.test(recorded[i + 1] ?? '')) return listed[i] === call;
    return listed.includes(call) || call !== 'store.claimDue';
  });
}

export function pointsOf(scenario: Scenario, path: Path, business: DatabaseKind): Accident[] {
  const { calls, sleepsPastThePurge = true, pointsOnDtm } = scenario;
  const counts = new Map<string, number>();
  return (calls[path] ?? []).flatMap((call) => {
    const nth = (counts.get(call) ?? 0) + 1;
    counts.set(call, nth);
    if (path === 'dtm' && pointsOnDtm && !pointsOnDtm.test(call)) return [];
    return ACCIDENTS.filter(
      (kind) => (sleepsPastThePurge || kind !== 'sleeps past the purge') && canHappen(kind, call, path, business),
    ).map((kind) => ({ kind, call, nth }));
  });
}

const READS_ON_DTM = /^(server\.(query|all)|ledger\.read)$/;

function canHappen(kind: AccidentKind, call: string, path: Path, { isServer, repeats }: DatabaseKind): boolean {
  // Statements in a transaction end with its connection; only its COMMIT is of consequence later. A step is no call to a server.
  const ofTransaction = /^(transaction|enlisted|user|once)\./.test(call);
  if (kind.startsWith('lands') && READS_ON_DTM.test(call)) return false;
  if (kind.startsWith('lands')) return ofTransaction ? isServer && call.endsWith('.commit') : !call.startsWith('step.');
  // R9 looks at the clock instead, which a test cannot put forward; and whoever purges gives up a row after a minute.
  if (kind === 'sleeps past the purge') return path === 'two-phase' && !/Purge|purge/.test(call);
  if (kind === 'ended by the server') return repeats && ofTransaction;
  // Whoever commits by hand sends again as the documentation says, or asks: that is an answer lost.
  if (kind.endsWith('commit sent again')) return repeats && /^(transaction|once)\.commit$/.test(call);
  // What only reads is the same whether it was done or not.
  if (READS_ON_DTM.test(call)) return kind !== 'crash after' && kind !== 'answer lost';
  return true;
}

/** Until its accident has happened: what a run does depends on time, too. */
export async function runPoint(lane: Lane, scenario: Scenario, point: Accident): Promise<void> {
  for (let run = 1; ; run++) {
    try {
      await lane.run(scenario, point);
      return;
    } catch (error) {
      if (run === MAX_RUNS || !(error instanceof AccidentMissed)) throw error;
    }
  }
}

/** One failure a point, with what is needed to see it again. */
async function runAll(lanes: readonly Lane[], scenario: Scenario, points: readonly Accident[]): Promise<string[]> {
  const failures: string[] = [];
  const open = [...points];
  await Promise.all(
    lanes.map(async (lane) => {
      for (let point = open.shift(); point; point = open.shift()) {
        try {
          await runPoint(lane, scenario, point);
        } catch (error) {
          failures.push(`STEPPING_CRASH_POINT='${nameOf(scenario, point)}': ${(error as Error).message}`);
        }
      }
    }),
  );
  return failures;
}
