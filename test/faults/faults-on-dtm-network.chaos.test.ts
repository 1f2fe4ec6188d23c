import assert from 'node:assert/strict';
import { afterEach, it, jest } from '@jest/globals';
import { startDtm, testService } from '@stepping/test-services';
import { audit } from './audit.js';
import { postgres } from './databases.js';
import { DtmRun } from './dtm-run.js';
import { seeded } from './seeded.js';
import { ORDINARY, PLAIN } from './steps.js';
import { type TcpProxy, tcpProxy } from './tcp-proxy.js';
import { until } from './until.js';

const CUTS = 16;
/** For so long the database is away. Unit: ms. */
const AWAY_MS = 3_000;

const service = await testService('dtm-own');
const database = await postgres();
const server = service.available ? await startDtm() : { url: '' };

jest.setTimeout(300_000);
afterEach(() => DtmRun.closeAll());

service.describe('faults of the network, with jobs on DTM,', () => {
  database.describe('and orders in PostgreSQL: a connection', () => {
    it('that is cut exactly at COMMIT leaves no doubt in the end', async () => {
      const { run, proxy, shop } = await behindDatabaseProxy();
      proxy.cutCommits();
      for (let i = 0; i < 6; i++) run.told.push(...(await shop.do('order', run.gids(`order-${i}`, 4), ORDINARY)));
      proxy.heal();
      await run.untilAllEnded();
      assert.ok(proxy.broken >= 6, `Only ${proxy.broken} connections were cut`);
      assert.ok(run.told.some(({ told }) => told === 'yes'));
      await audit(run);
    });

    it('to the database that is cut at random bytes, in both directions, loses and doubles nothing', async () => {
      const { run, proxy, shop } = await behindDatabaseProxy();
      const { random, seed } = seeded();
      proxy.cutAtRandomBytes(random);
      for (let i = 0; i < 5 || (proxy.broken < CUTS && i < 30); i++) {
        run.told.push(...(await shop.do('order', run.gids(`order-${i}`, 4), ORDINARY)));
      }
      proxy.heal();
      await run.untilAllEnded();
      assert.ok(proxy.broken >= CUTS, `Only ${proxy.broken} connections were cut`);
      await audit(run).catch(withSeed(seed));
    });

    it('to the server, and from the server, that is cut at random bytes loses nothing, and has no step run twice', async () => {
      const { run, proxies, shop } = await aroundServer();
      const { random, seed } = seeded();
      for (const proxy of proxies) proxy.cutAtRandomBytes(random);
      for (let i = 0; i < 4 || (proxies.some(({ broken }) => broken < CUTS / 2) && i < 20); i++) {
        run.told.push(...(await shop.do('order', run.gids(`order-${i}`, 4), ORDINARY)));
        run.told.push(...(await shop.do('start', run.gids(`job-${i}`, 4), PLAIN)));
      }
      for (const proxy of proxies) proxy.heal();
      await run.untilAllEnded();
      for (const { broken } of proxies) assert.ok(broken >= CUTS / 2, `Only ${broken} connections were cut`);
      await audit(run, { noRepeats: true }).catch(withSeed(seed));
    });

    it('to the server, and from the server, that swallows what is sent without a word holds nothing up for long: it is half open', async () => {
      const { run, proxies, shop } = await aroundServer();
      run.told.push(...(await shop.do('order', run.gids('before', 8), [['take', { ms: 500 }], 'book', 'send'])));
      for (const proxy of proxies) proxy.swallow();
      // Nobody was told that their connections are dead. These may fail; they do not hang.
      run.told.push(...(await shop.do('order', run.gids('during', 8), ORDINARY)));
      const after = await shop.do('order', run.gids('after', 4), ORDINARY);
      assert.equal(after.map(({ told }) => told).join(), 'yes,yes,yes,yes');
      run.told.push(...after);
      await run.untilAllEnded();
      for (const { broken } of proxies) assert.ok(broken > 0, 'No connection was open');
      await audit(run, { noRepeats: true });
    });

    it('to a database that is away for a while: what became of transactions is asked until it says, and no step begins or ends uncounted', async () => {
      const { run, proxy, shop } = await behindDatabaseProxy();
      run.told.push(...(await shop.do('start', run.gids('job', 8), [['take', { ms: 1_500 }], 'pack', 'send'])));
      await until('their steps run', () => run.lines('begins').length >= 8);
      proxy.cutCommits();
      const orders = shop.do('order', run.gids('order', 24), ORDINARY);
      await until('some commits were not heard', () => proxy.broken >= 4);
      proxy.goAway();
      await new Promise((resolve) => setTimeout(resolve, AWAY_MS));
      const begunBefore = run.lines('begins').length;
      proxy.heal();
      run.told.push(...(await orders));
      assert.ok(
        run.told.some(({ told }) => told === 'unknown'),
        'Nobody was in doubt',
      );
      await run.untilAllEnded();
      assert.ok(run.lines('begins').length > begunBefore);
      await audit(run);
    });
  });
});

async function behindDatabaseProxy() {
  const run = await DtmRun.open(database, server);
  const proxy = await tcpProxy(run.business);
  run.atEnd(() => proxy.close());
  return { run, proxy, shop: await run.process({ business: proxy.through(run.business) }) };
}

/** One proxy on the way to the server, one on the way back. */
async function aroundServer() {
  const run = await DtmRun.open(database, server);
  const { serverUrl, callbackUrl } = run.dtm;
  const [there, back] = [await tcpProxy({ url: serverUrl }), await tcpProxy({ url: callbackUrl })];
  const proxies: readonly TcpProxy[] = [there, back];
  for (const proxy of proxies) run.atEnd(() => proxy.close());
  const shop = await run.process({ dtm: { ...run.dtm, serverUrl: there.url(serverUrl), callbackUrl: back.url(callbackUrl) } });
  return { run, proxies, shop };
}

function withSeed(seed: number) {
  return (error: Error) => {
    throw new Error(`STEPPING_TEST_SEED=${seed}: ${error.message}`, { cause: error });
  };
}
