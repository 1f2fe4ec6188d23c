import assert from 'node:assert/strict';
import { afterEach, it, jest } from '@jest/globals';
import { startDtm, testService } from '@stepping/test-services';
import { audit } from './audit.js';
import { postgres } from './databases.js';
import { DtmRun } from './dtm-run.js';
import { stopAtEveryMoment } from './dtm-stop.js';
import type { Plan } from './shop.js';
import { ORDINARY, PLAIN, type StepName } from './steps.js';
import { until } from './until.js';

const JOBS = 240;
const ROUNDS = 4;

const service = await testService('dtm-own');
const database = await postgres();
const server = service.available ? await startDtm() : undefined;
const shared = server ?? { url: '' };

jest.setTimeout(300_000);
afterEach(() => DtmRun.closeAll());

service.describe('faults around jobs on DTM,', () => {
  database.describe('with orders in PostgreSQL:', () => {
    it(`a server that is killed every few seconds under ${JOBS} jobs loses none, and has no step run twice`, async () => {
      const run = await DtmRun.open(database, shared);
      const shops = [await run.process(), await run.process()] as const;
      for (let round = 0; round < ROUNDS; round++) {
        const ended = run.lines('ends').length;
        const starting = Promise.all([
          shops[0].do('order', run.gids(`order-${round}`, JOBS / ROUNDS / 5), ORDINARY),
          shops[1].do('start', run.gids(`job-${round}`, (JOBS / ROUNDS / 5) * 4), PLAIN),
        ]);
        if (round < ROUNDS - 1) {
          await until('some steps have run', () => run.lines('ends').length > ended + JOBS / ROUNDS / 2);
          await server?.restart();
        }
        run.told.push(...(await starting).flat());
      }
      await run.untilAllEnded();
      assert.ok(run.told.filter(({ told }) => told === 'yes').length > JOBS / 2);
      await audit(run, { noRepeats: true });
    });

    it('four replicas that are given every callback at the same time run each step exactly once', async () => {
      const run = await DtmRun.open(database, shared);
      await Promise.all(['one', 'two', 'three', 'four'].map((node) => run.process({ node })));
      run.callbacks.race = true;
      run.told.push(...(await Promise.all(run.gids('job', 60).map((gid) => run.observer.start(gid, PLAIN)))));
      run.told.push(...(await Promise.all(run.gids('order', 20).map((gid) => run.observer.order(gid, ORDINARY)))));
      await run.untilAllEnded();
      await audit(run, { noRepeats: true });
      const nodes = new Set(run.lines('begins').map(({ node }) => node));
      assert.equal(nodes.size, 4, `Only ${[...nodes].sort()} had any`);
    });

    it('steps that outlive their timeout, or do not listen to their signal, are failed after their attempts; a late end writes nothing', async () => {
      const run = await DtmRun.open(database, shared);
      const shop = await run.process({ steps: [...ORDINARY, 'outlives', 'deaf'] });
      const bad: Plan[] = [
        [['outlives', { ms: 60_000 }], 'send'],
        [['deaf', { ms: 800 }], 'send'],
      ];
      for (const [i, plan] of bad.entries()) await shop.do('start', run.gids(`bad-${i}`, 3), plan);
      run.told.push(...(await shop.do('order', run.gids('good', 20), ORDINARY)));
      await run.untilAllEnded();
      await until('the deaf ones have ended, too', () => run.lines('ends').filter(({ step }) => step === 'deaf').length === 6);
      for (const gid of bad.flatMap((_, i) => run.gids(`bad-${i}`, 3))) {
        const job = await run.observer.stepping.jobs.find(gid);
        assert.equal(`${job?.status} at ${job?.step}: ${job?.lastError?.name}`, 'failed at 0: STEP_TIMEOUT', gid);
        const begun = run.lines('begins').filter((line) => line.gid === gid);
        assert.equal(begun.map(({ attempt }) => attempt).join(), '1,2', gid);
      }
      await audit(run, { noRepeats: true });
    });

    it('poisoned jobs in front of good ones hold none of them up, and can be seen', async () => {
      const run = await DtmRun.open(database, shared);
      const { start, stepping } = run.observer;
      for (const name of ['foul', 'odd', 'unknown'] as const) {
        for (const gid of run.gids(name, 3)) await start(gid, [name === 'unknown' ? 'kills' : name, 'send']);
      }
      // Of somebody who reaches the server: a message to our URL that nobody has signed.
      await forge(run);
      const shop = await run.process({ steps: [...ORDINARY, 'pack', 'foul', 'odd'] });
      run.told.push(...(await shop.do('order', run.gids('order', 30), ORDINARY)));
      run.told.push(...(await shop.do('start', run.gids('job', 30), PLAIN)));
      await Promise.all(run.told.map(({ gid }) => stepping.jobs.wait(gid, { timeoutMs: 60_000 })));
      await Promise.all([...run.gids('foul', 3), ...run.gids('odd', 3)].map((gid) => stepping.jobs.wait(gid, { timeoutMs: 60_000 })));
      const { lastError } = (await stepping.jobs.find(run.gids('foul', 1)[0] as string)) ?? {};
      assert.match(lastError?.message ?? '', /^nul .*half a pair .*, long long/);
      const unknown = () => new Set(run.lines('unrunnable').map(({ gid }) => gid));
      await until('each that nobody can run was told of', () => unknown().size === 3);
      for (const gid of run.gids('unknown', 3)) {
        const job = await stepping.jobs.find(gid);
        assert.equal(`${job?.status}, attempt ${job?.attempt}`, 'submitted, attempt 1', gid);
      }
      await audit(run, { noRepeats: true });
    });

    it('an old and a new release behind one URL, one after the other replaced under work, fail and repeat nothing', async () => {
      const run = await DtmRun.open(database, shared);
      const next: readonly StepName[] = ['take', 'book', 'post'];
      type Replica = Awaited<ReturnType<DtmRun['process']>>;
      const order = async (shop: Replica, name: string, plan: readonly StepName[]) =>
        run.told.push(...(await shop.do('order', run.gids(name, 10), plan)));
      const old = [await run.process({ node: 'old-1', steps: ORDINARY }), await run.process({ node: 'old-2', steps: ORDINARY })] as const;
      await Promise.all(old.map((shop, i) => order(shop, `old-${i}`, ORDINARY)));
      const first = await run.process({ node: 'new-1', steps: next });
      await Promise.all([order(first, 'new-first', next), order(old[0], 'still-old', ORDINARY)]);
      // The old ones are asked for steps that only the new one knows, and while they stop.
      await Promise.all([order(first, 'new-beside-old', next), old[0].stop(), order(old[1], 'last-old', ORDINARY)]);
      await old[1].stop();
      const second = await run.process({ node: 'new-2', steps: next });
      await order(second, 'new-second', next);
      await run.untilAllEnded();
      await audit(run, { noRepeats: true });
      assert.ok(run.lines('unrunnable').length > 0, 'No old replica was asked for a new step');
      await Promise.all([first.stop(), second.stop()]);
    });

    it('stop() at every moment (each request, each call of the ledger, before and after; each start of a step) ends in time, and nothing is lost or done twice', async () => {
      const run = await DtmRun.open(database, shared);
      await stopAtEveryMoment(run);
      assert.ok(run.told.length > 20, `There were only ${run.told.length} starts`);
      const rest = await run.process({ node: 'rest' });
      await run.untilAllEnded();
      await audit(run, { noRepeats: true });
      await rest.stop();
    });
  });
});

async function forge({ dtm, observer }: DtmRun): Promise<void> {
  const action = `${dtm.callbackUrl}?stepping=step&s=forged`;
  const payload = JSON.stringify({ v: 1, gid: 'forged', instance: 'i', position: 0, of: 1, generation: 0, step: 'send', queue: 'default' });
  const message = { gid: crypto.randomUUID(), trans_type: 'msg', steps: [{ action }], payloads: [payload], retry_interval: 1 };
  const response = await fetch(`${dtm.serverUrl}/api/dtmsvr/submit`, { method: 'POST', body: JSON.stringify(message) });
  assert.equal(response.status, 200);
  assert.equal(await observer.stepping.jobs.find('forged'), undefined);
}
