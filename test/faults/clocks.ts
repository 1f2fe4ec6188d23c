import { it } from '@jest/globals';
import { audit, gids } from './audit.js';
import type { FaultDatabase } from './databases.js';
import { Run } from './run.js';
import type { Plan } from './shop.js';
import { until } from './until.js';

const HOUR_MS = 3_600_000;
const LEASE_MS = 3_000;
/** The first step is longer than a lease: whoever believes the wrong clock takes it over, or lets it go. */
const PLAN: Plan = [['take', { ms: 3_500 }], 'book', 'send'];

/** Clocks of services that are not that of the database. */
export function describeClocks(database: FaultDatabase): void {
  it('an hour wrong on one service, ahead or behind: nothing is taken over early, or waits', async () => {
    const run = await Run.open(database);
    const shops = await Promise.all([
      run.process({ node: 'right', leaseMs: LEASE_MS }),
      run.process({ node: 'ahead', leaseMs: LEASE_MS }, wrongClock(HOUR_MS)),
      run.process({ node: 'behind', leaseMs: LEASE_MS }, wrongClock(-HOUR_MS)),
    ]);
    const told = await Promise.all(shops.map((shop, i) => shop.do('order', gids(`order-${i}`, 5), PLAN)));
    run.told.push(...told.flat());
    await run.untilAllEnded();
    await audit(run, { noRepeats: true });
  });

  it('that jump an hour back, and then ahead again, in the middle of the work: nothing is done twice', async () => {
    const run = await Run.open(database);
    const jumping = await run.process({ node: 'jumping', leaseMs: LEASE_MS }, wrongClock(-HOUR_MS, 'told'));
    const right = await run.process({ node: 'right', leaseMs: LEASE_MS });
    for (const wave of ['before', 'back', 'ahead']) {
      if (wave !== 'before') {
        await until('it works', () =>
          run.lines('begins').some(({ node, gid }) => node === 'jumping' && gid.startsWith(wave === 'back' ? 'before' : 'back')),
        );
        jumping.signal('SIGUSR2');
      }
      run.told.push(...(await jumping.do('order', gids(wave, 5), PLAN)));
      run.told.push(...(await right.do('order', gids(`${wave}-right`, 3), PLAN)));
    }
    await run.untilAllEnded();
    await audit(run, { noRepeats: true });
  });
}

export function wrongClock(ms: number, when?: 'told'): string {
  const url = new URL('./wrong-clock.mjs', import.meta.url);
  url.search = new URLSearchParams({ ms: String(ms), ...(when ? { when } : {}) }).toString();
  return url.href;
}
