import assert from 'node:assert/strict';
import { it } from '@jest/globals';
import { audit, gids } from './audit.js';
import type { FaultDatabase } from './databases.js';
import { Run } from './run.js';
import { seeded } from './seeded.js';
import { ORDINARY, PLAIN } from './steps.js';
import { type TcpProxy, tcpProxy } from './tcp-proxy.js';
import { until } from './until.js';

const CUTS = 30;
/** What nobody heard of is done again so soon. Unit: ms. */
const LEASE_MS = 2_000;

/** Between a service and its database. */
export function describeNetwork(database: FaultDatabase): void {
  for (const twoDatabases of [false, true]) {
    it(`that cuts connections exactly at COMMIT leaves no doubt in the end, with ${twoDatabases ? 'two databases' : 'one database'}`, async () => {
      const { run, proxy, shop } = await behindProxy(database, { twoDatabases });
      proxy.cutCommits();
      // Some at a time: one that is told the truth about its commit opens further transactions to find it out.
      for (let i = 0; i < 8; i++) run.told.push(...(await shop.do('order', gids(`order-${i}`, 4), ORDINARY)));
      proxy.heal();
      await run.untilAllEnded();
      assert.ok(proxy.broken >= 8, `Only ${proxy.broken} connections were cut`);
      assert.ok(run.told.some(({ told }) => told === 'yes'));
      await audit(run);
    });
  }

  it('that cuts connections at random bytes, in both directions, loses and doubles nothing', async () => {
    const { run, proxy, shop } = await behindProxy(database, { twoDatabases: true });
    const { random, seed } = seeded();
    proxy.cutAtRandomBytes(random);
    // How much goes through before the next cut is random, too: as many as it takes.
    for (let i = 0; i < 5 || proxy.broken < CUTS; i++) {
      run.told.push(...(await shop.do('order', gids(`order-${i}`, 4), ORDINARY)));
      run.told.push(...(await shop.do('start', gids(`job-${i}`, 4), PLAIN)));
    }
    proxy.heal();
    await run.untilAllEnded();
    await audit(run).catch((error) => {
      throw new Error(`STEPPING_TEST_SEED=${seed}: ${error.message}`, { cause: error });
    });
  });

  it('that swallows what is sent without a word holds nothing up for long: a half-open connection', async () => {
    const { run, proxy, shop } = await behindProxy(database);
    run.told.push(...(await shop.do('start', gids('before', 30), [['take', { ms: 300 }], 'pack', 'send'])));
    await until('some steps run', () => run.lines('begins').length >= 8);
    proxy.swallow();
    // Its open connections are dead, and it was not told. Everything ends over new ones.
    await run.untilAllEnded();
    const orders = shop.do('order', gids('order', 4), ORDINARY);
    await until('an order goes through, whatever the others wait for', async () => (await run.books.read()).orders.size > 0);
    proxy.notice();
    run.told.push(...(await orders));
    await run.untilAllEnded();
    await audit(run);
  });
}

async function behindProxy(database: FaultDatabase, options: { twoDatabases?: boolean } = {}) {
  const run = await Run.open(database, options);
  const proxy: TcpProxy = await tcpProxy(run.business);
  run.atEnd(() => proxy.close());
  const shop = await run.process({
    leaseMs: LEASE_MS,
    business: proxy.through(run.business),
    ...(options.twoDatabases ? { jobs: proxy.through(run.jobs) } : {}),
  });
  return { run, proxy, shop };
}
