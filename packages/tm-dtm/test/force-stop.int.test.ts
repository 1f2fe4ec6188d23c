import { afterEach, expect, it } from '@jest/globals';
import { testService } from '@stepping/test-services';
import { Deliveries } from './support/deliveries.js';
import { aMessage, DtmApi, type RawMessage } from './support/dtm-api.js';

// What a DTM server makes of a stop by force while it waits for an answer, with boltdb, which is where the order matters: docs/decisions/0017-callbacks-of-dtm.md.

const service = await testService('dtm');
const closing: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

/** A server, and a message of three steps each of which is answered as the test says. */
async function aServer() {
  const between = await Deliveries.listen();
  closing.push(() => between.close());
  const api = new DtmApi(await service.database());
  const message = (steps: number) => aMessage(Array(steps).fill(between.callbackUrl), { retry_interval: 1 });
  const positionsOf = (gid: string) =>
    between.received.filter(({ url }) => url.searchParams.get('gid') === gid).map(({ position }) => position);
  /** Waits until the server has come back twice, after its interval, for a message of its own: whatever else was due was called. */
  const aWhile = async (answered: RawMessage) => {
    const other = message(1);
    const before = between.how;
    let calls = 0;
    between.how = async (callback) => {
      if (callback.url.searchParams.get('gid') === answered.gid) return before(callback);
      return calls++ < 2 ? 425 : 200;
    };
    await api.post('submit', other);
    await api.untilStatus(other.gid, 'succeed');
  };
  return { between, api, message, positionsOf, aWhile };
}

service.describe('A message that is stopped by force', () => {
  it('before the callback is answered that is under way is taken up again by the server when it gets the answer', async () => {
    const { between, api, message, positionsOf } = await aServer();
    const stopped = message(3);
    const calledAgain = Promise.withResolvers<void>();
    between.how = async ({ position }) => {
      if (position === 0) return 200;
      if (positionsOf(stopped.gid).length > 2) {
        calledAgain.resolve();
        return 425;
      }
      expect((await api.post('forceStop', { gid: stopped.gid })).status).toBe(200);
      expect(await api.statusOf(stopped.gid)).toBe('failed');
      return 500;
    };
    await api.post('submit', stopped);
    await calledAgain.promise;
    expect(await api.statusOf(stopped.gid)).toBe('submitted');
    // The same step, and none after it.
    expect([...new Set(positionsOf(stopped.gid))]).toEqual([0, 1]);
    await api.post('forceStop', { gid: stopped.gid });
  });

  it('after the server has taken the answer stays so, and is called no more', async () => {
    const { between, api, message, positionsOf, aWhile } = await aServer();
    const stopped = message(3);
    between.how = async ({ position }) => (position === 0 ? 200 : 500);
    await api.post('submit', stopped);
    const interval = async () => (await api.get(`query?gid=${stopped.gid}`)).json.transaction.next_cron_interval;
    while ((await interval()) !== 2) await new Promise((resolve) => setTimeout(resolve, 5));
    expect((await api.post('forceStop', { gid: stopped.gid })).status).toBe(200);
    await aWhile(stopped);
    expect(await api.statusOf(stopped.gid)).toBe('failed');
    expect(positionsOf(stopped.gid)).toEqual([0, 1]);
    expect((await api.post('forceStop', { gid: stopped.gid })).status).toBe(409);
  });

  it('while a step is running that then succeeds goes on to no further step', async () => {
    const { between, api, message, positionsOf, aWhile } = await aServer();
    const stopped = message(3);
    between.how = async () => {
      await api.post('forceStop', { gid: stopped.gid });
      return 200;
    };
    await api.post('submit', stopped);
    await api.untilStatus(stopped.gid, 'failed');
    await aWhile(stopped);
    expect(await api.statusOf(stopped.gid)).toBe('failed');
    expect(positionsOf(stopped.gid)).toEqual([0]);
  });
});
