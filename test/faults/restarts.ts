import assert from 'node:assert/strict';
import { it } from '@jest/globals';
import { audit, gids } from './audit.js';
import type { FaultDatabase } from './databases.js';
import type { ShopProcess } from './processes.js';
import { Run } from './run.js';
import { ORDINARY, PLAIN } from './steps.js';
import { until } from './until.js';

const LEASE_MS = 5_000;
const ROUNDS = 4;
const JOBS = 2_000;

/** What goes down in the middle of all work, and comes back. */
export function describeRestarts(database: FaultDatabase): void {
  const { own } = database;
  const jobs = JOBS * database.share;
  if (own) {
    it(`its server, every few seconds under ${jobs} jobs: none is lost, and none done twice`, async () => {
      const run = await Run.open({ ...database, create: own.create });
      const shops = [await run.process({ leaseMs: LEASE_MS }), await run.process({ leaseMs: LEASE_MS })];
      await underWork(
        run,
        jobs,
        () => shops,
        () => own.restart(),
      );
    });
  }

  it(`its services, killed in turn under ${jobs} jobs: none is lost, and none done twice`, async () => {
    const run = await Run.open(database);
    const shops = [await run.process({ leaseMs: LEASE_MS }), await run.process({ leaseMs: LEASE_MS })];
    await underWork(
      run,
      jobs,
      () => shops,
      async (round) => {
        await (shops[round % 2] as ShopProcess).kill();
        shops[round % 2] = await run.process({ leaseMs: LEASE_MS });
        await run.noticesLostClients();
      },
    );
  });
}

/** In each round new jobs come, and when a part of them has run the accident happens; in the last one there is none. */
async function underWork(
  run: Run,
  jobs: number,
  shops: () => readonly ShopProcess[],
  accident: (round: number) => Promise<void>,
): Promise<void> {
  // An eighth are orders, with a transaction and an effect.
  const orders = forgetsCommits(run) ? 0 : jobs / 8;
  for (let round = 0; round < ROUNDS; round++) {
    const ended = run.lines('ends').length;
    // Who is killed cannot tell what it was told; the jobs are counted by the audit all the same.
    const starting = Promise.all([
      starts(run, shops()[round % 2], 'order', gids(`order-${round}`, Math.ceil(orders / ROUNDS))),
      starts(run, shops()[(round + 1) % 2], 'start', gids(`job-${round}`, Math.floor((jobs - orders) / ROUNDS))),
    ]);
    if (round < ROUNDS - 1) {
      await until('some steps have run', () => run.lines('ends').length > ended + jobs / ROUNDS / 2);
      await accident(round);
    }
    await starting;
  }
  await run.untilAllEnded();
  const { succeeded } = await run.observer.stepping.jobs.stats();
  assert.ok(succeeded > jobs / 2, `Only ${succeeded} jobs were stored at all`);
  await audit(run);
}

/**
 * What stands in for MongoDB does not know after a restart what it has committed. A commit whose answer was lost is sent again, and answered "no such transaction": of MongoDB that is
 * proof that it was not done, and the body runs once more.
 */
function forgetsCommits({ business: { url } }: Run): boolean {
  return url.includes('replicaSet=secantus');
}

async function starts(run: Run, shop: ShopProcess | undefined, what: 'order' | 'start', names: readonly string[]): Promise<void> {
  const plan = what === 'order' ? ORDINARY : PLAIN;
  const told = await shop
    ?.do(what, names, plan)
    .catch(() => names.map((gid) => ({ gid, plan, kind: what === 'order' ? 'order' : 'job', told: 'unknown' }) as const));
  run.told.push(...(told ?? []));
}
