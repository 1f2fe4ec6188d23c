import assert from 'node:assert/strict';
import { afterEach, it, jest } from '@jest/globals';
import { startDtm, testService } from '@stepping/test-services';
import { audit } from './audit.js';
import { wrongClock } from './clocks.js';
import { postgres } from './databases.js';
import { DtmRun } from './dtm-run.js';
import { killProcesses, type ShopProcess } from './processes.js';
import type { Plan } from './shop.js';
import { ORDINARY, type StepName } from './steps.js';
import { until } from './until.js';

const HOUR_MS = 3_600_000;

const service = await testService('dtm-own');
const database = await postgres();
const server = service.available ? await startDtm() : { url: '' };

jest.setTimeout(300_000);
afterEach(() => DtmRun.closeAll());

service.describe('faults of replicas, with jobs on DTM,', () => {
  database.describe('and orders in PostgreSQL: one', () => {
    it('that is frozen past its lease has its steps run by another one, and changes nothing of them when it wakes up', async () => {
      const run = await DtmRun.open(database, server);
      const frozen = await run.process({ node: 'frozen' });
      run.told.push(...(await frozen.do('order', run.gids('order', 4), [['take', { firstMs: 3_000 }], 'book', 'send'])));
      await until('it works on all of them', () => run.lines('begins').length === 4);
      frozen.freeze();
      const heir = await run.process({ node: 'heir' });
      // What balances the load sends it as many callbacks as the other one, until it has found out.
      await until('its lease has ended', () => run.lines('begins').some(({ node }) => node === 'heir'));
      run.leave(frozen.origin);
      await run.untilAllEnded();
      const before = run.lines('begins').length;
      frozen.thaw();
      const lost = () => new Set(run.lines('lease-lost').flatMap(({ node, gid }) => (node === 'frozen' ? [gid] : [])));
      await until('it has noticed that none is its own any more', () => lost().size === 4);
      assert.equal(run.lines('begins').length, before, 'It began a step that was not its own any more');
      // It is as good as any other now.
      run.join(frozen.origin);
      await heir.stop();
      run.told.push(...(await frozen.do('order', run.gids('later', 4), ORDINARY)));
      await run.untilAllEnded();
      await audit(run);
    });

    it('that a step kills, each time, begins it as often as it has attempts; then it is failed, and its neighbours ended well', async () => {
      const run = await DtmRun.open(database, server);
      const steps: readonly StepName[] = [...ORDINARY, 'kills'];
      const isOver = async () => (await run.observer.stepping.jobs.find('killer'))?.status === 'failed';
      let over = false;
      // As whatever keeps services running does it.
      const keepRunning = async (first: ShopProcess) => {
        for (let shop: ShopProcess | undefined = first; shop && !over; ) {
          await shop.exited;
          // One that is killed at the end before it has started is none.
          shop = over ? undefined : await run.process({ steps }).catch(() => undefined);
        }
      };
      const replicas = [await run.process({ steps }), await run.process({ steps })] as const;
      const living = replicas.map(keepRunning);
      await run.observer.start('killer', ['kills', 'send']);
      const plan: Plan = [['take', { ms: 100 }], 'book', 'send'];
      run.told.push(...(await Promise.all(run.gids('neighbour', 10).map((gid) => run.observer.order(gid, plan)))));
      await until('the killer is failed', isOver);
      await run.untilAllEnded();
      over = true;
      await killProcesses();
      await Promise.all(living);
      const begun = run.lines('begins').filter(({ step }) => step === 'kills');
      assert.equal(begun.map(({ attempt }) => attempt).join(), '1,2,3');
      assert.match((await run.observer.stepping.jobs.find('killer'))?.lastError?.message ?? '', /^Worker lost/);
      assert.ok(!run.lines().some(({ gid, index }) => gid === 'killer' && index === 1), 'What came after it has run');
      await audit(run);
    });

    it('whose clock is an hour wrong, ahead or behind, takes nothing over early, and makes nothing wait', async () => {
      const run = await DtmRun.open(database, server);
      const shops = await Promise.all([
        run.process({ node: 'right' }),
        run.process({ node: 'ahead' }, wrongClock(HOUR_MS)),
        run.process({ node: 'behind' }, wrongClock(-HOUR_MS)),
      ]);
      // Longer than DTM waits: it asks the others, too, whether they would run it.
      const plan: Plan = [['take', { ms: 2_500 }], 'book', 'send'];
      const told = await Promise.all(shops.map((shop, i) => shop.do('order', run.gids(`order-${i}`, 4), plan)));
      run.told.push(...told.flat());
      await run.untilAllEnded();
      await audit(run, { noRepeats: true });
      assert.equal(new Set(run.lines('begins').map(({ node }) => node)).size, 3);
    });
  });
});
