import type { IncomingHttpHeaders } from 'node:http';
import { afterEach, describe, expect, it } from '@jest/globals';
import { createStepping, defineStep, permanent, type Stepping } from '@stepping/core';
import { httpStep } from '@stepping/core/http';
import { testService } from '@stepping/test-services';
import { dtm } from '@stepping/tm-dtm';
import { RecordingServer } from '../../core/test/http/recording-server.js';
import { until } from './support/an-endpoint.js';
import { type DeedsKind, deedsKinds } from './support/deeds.js';
import { type Delivered, Deliveries } from './support/deliveries.js';
import { DtmApi } from './support/dtm-api.js';

const service = await testService('dtm');
const SECRET = 'between these apps and nobody else';
const closing: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close();
});

async function deliveries(): Promise<Deliveries> {
  const between = await Deliveries.listen();
  closing.push(() => between.close());
  return between;
}

async function started(
  between: Deliveries,
  options: Pick<Parameters<typeof createStepping>[0], 'steps' | 'use'>,
  more: { requestTimeoutMs?: number } = {},
): Promise<Stepping> {
  const stepping = createStepping({
    ...options,
    tm: dtm({ serverUrl: await service.database(), callbackUrl: between.callbackUrl, secret: SECRET, retryIntervalMs: 1_000, ...more }),
    retry: { minDelayMs: 100 },
  }) as Stepping;
  closing.push(() => stepping.stop({ drainTimeoutMs: 500 }));
  between.replicas = [...between.replicas, stepping];
  await stepping.start();
  return stepping;
}

service.describe('Callbacks of a DTM server', () => {
  describe.each(deedsKinds.map((kind) => [kind.name, kind] as const))('with the business in %s', (_, kind) => {
    kind.describe('that are delivered twice, in parallel, late and out of order, to two replicas', () => {
      it('have each step run once, and its effect once', () => deliverInEveryWay(kind));
    });
  });

  it('tell a third party that an HTTP step calls nothing of the secret, nor of any signature', async () => {
    const thirdParty = await RecordingServer.listen();
    closing.push(() => thirdParty[Symbol.asyncDispose]());
    const between = await deliveries();
    const call = httpStep({
      name: 'bank.out',
      request: () => ({ method: 'POST', url: `${thirdParty.origin}/transfers`, json: { amount: 7 } }),
      headers: () => ({ authorization: 'Bearer of the bank' }),
    });
    const stepping = await started(between, { steps: [call] });
    const { gid } = await stepping.createJob().addStep(call).addStep(call).start();
    expect((await stepping.jobs.wait(gid, { timeoutMs: 50_000 })).status).toBe('succeeded');

    const calls = between.received.filter(({ kind }) => kind === 'step');
    const secrets = [SECRET, ...calls.map(({ url }) => url.searchParams.get('s') as string)];
    expect(secrets.every((secret) => secret.length > 20)).toBe(true);
    expect(thirdParty.received.map(({ headers }) => headers['idempotency-key'])).toEqual([`${gid}/000`, `${gid}/001`]);
    for (const { url, headers, body } of thirdParty.received) {
      // Every header there is, so that a new one is looked at before it goes out.
      expect(namesIn(headers)).toEqual(['authorization', 'content-length', 'content-type', 'host', 'idempotency-key']);
      expect(headers.authorization).toBe('Bearer of the bank');
      for (const secret of secrets) expect(JSON.stringify([url, headers, String(body)])).not.toContain(secret);
    }
    // DTM itself sends nothing of ours in headers, wherever it may call.
    for (const { headers } of calls) {
      expect(namesIn(headers)).toEqual(['content-length', 'content-type', 'host']);
      for (const secret of secrets) expect(JSON.stringify(headers)).not.toContain(secret);
    }
  });

  it('of a step that takes longer than the server waits are answered in time, and it runs once', async () => {
    const slow = Promise.withResolvers<void>();
    let runs = 0;
    const step = defineStep({
      name: 'slow',
      run() {
        runs++;
        return slow.promise;
      },
    });
    const between = await deliveries();
    const stepping = await started(between, { steps: [step] }, { requestTimeoutMs: 1_000 });
    const statuses: number[] = [];
    between.how = async (callback) => {
      const status = await between.to(0, callback);
      if (callback.kind === 'step') statuses.push(status);
      if (statuses.length === 2) slow.resolve();
      return status;
    };
    const { gid } = await stepping.createJob().addStep(step).start();
    expect((await stepping.jobs.wait(gid, { timeoutMs: 50_000 })).status).toBe('succeeded');
    expect(statuses.slice(0, 3)).toEqual([425, 425, 200]);
    expect(runs).toBe(1);
  });

  it('run nothing after a dead step, and end: its message is failed on the server, too', async () => {
    const ran: string[] = [];
    const ok = defineStep({ name: 'ok', run: ({ idempotencyKey }) => void ran.push(idempotencyKey) });
    const dead = defineStep({
      name: 'dead',
      run() {
        throw permanent('there is no such account');
      },
    });
    const between = await deliveries();
    const stepping = await started(between, { steps: [ok, dead] });
    const { gid } = await stepping.createJob().addStep(ok).addStep(dead).addStep(ok).start();
    expect((await stepping.jobs.wait(gid, { timeoutMs: 50_000 })).status).toBe('failed');
    expect(ran).toEqual([`${gid}/000`]);

    const api = new DtmApi(await service.database());
    await api.untilStatus(gid, 'failed');
    // Until DTM has come back for another message twice, after its interval: this one is not among those that it comes back for.
    const called = () => between.received.filter(({ url }) => url.searchParams.get('gid') === gid).length;
    const calls = called();
    const again = await stepping.createJob().addStep(ok).start();
    let others = 0;
    between.how = async (callback) => (callback.kind === 'step' && others++ < 2 ? 425 : between.to(0, callback));
    expect((await stepping.jobs.wait(again.gid, { timeoutMs: 50_000 })).status).toBe('succeeded');
    expect(called()).toBe(calls);
    expect(await api.statusOf(gid)).toBe('failed');
  });
});

/** But for those that every HTTP client sends. */
function namesIn(headers: IncomingHttpHeaders): string[] {
  const usual = ['accept', 'accept-encoding', 'connection', 'user-agent'];
  return Object.keys(headers)
    .filter((name) => !usual.includes(name))
    .sort();
}

/** Five steps, each of which meets something else on its way. */
async function deliverInEveryWay(kind: DeedsKind): Promise<void> {
  const database = await kind.open();
  closing.push(() => database.close());
  const between = await deliveries();
  const runs: string[] = [];
  for (let replica = 0; replica < 2; replica++) {
    const process = await database.process();
    const step = defineStep({
      name: 'deed',
      async run(context) {
        runs.push(context.idempotencyKey);
        await process.once(context);
      },
    });
    await started(between, { steps: [step], use: [process.plugin] });
  }
  const seen: Delivered[] = [];
  const twice = async (callback: Delivered) => {
    expect(await between.to(0, callback)).toBe(200);
    return between.to(1, callback);
  };
  const inParallel = async (callback: Delivered) => {
    const statuses = await Promise.all([0, 1, 0, 1].map((replica) => between.to(replica, callback)));
    for (const status of statuses) expect([200, 425]).toContain(status);
    return statuses.includes(200) ? 200 : 425;
  };
  const withoutAnswer = async (callback: Delivered) => {
    if (seen.includes(callback)) return between.to(1, callback);
    await between.to(0, callback);
    return 'lost' as const;
  };
  const amongFormerOnes = async (callback: Delivered) => {
    const former = seen.filter(({ kind: seenKind, position }) => seenKind === 'step' && position < callback.position).toReversed();
    for (const one of former) expect(await between.to(1, one)).toBe(200);
    const status = await between.to(0, callback);
    for (const one of former) expect(await between.to(0, one)).toBe(200);
    return status;
  };
  const amongFormerOnesInParallel = async (callback: Delivered) => {
    const [status] = await Promise.all([between.to(1, callback), ...seen.map((one) => between.to(0, one))]);
    return status;
  };
  const ways = [twice, inParallel, withoutAnswer, amongFormerOnes, amongFormerOnesInParallel];
  const times = new Map<number, number>();
  between.how = async (callback) => {
    if (callback.kind !== 'step') return between.to(0, callback);
    const time = times.get(callback.position) ?? 0;
    times.set(callback.position, time + 1);
    const way = ways[callback.position] as (typeof ways)[number];
    const status = await (way === withoutAnswer && time > 0 ? between.to(1, callback) : way(callback));
    seen.push(callback);
    return status;
  };

  const [stepping] = between.replicas as readonly Stepping[];
  const job = (stepping as Stepping).createJob();
  for (let i = 0; i < ways.length; i++) job.addStep(defineStep({ name: 'deed', run() {} }));
  const { gid } = await job.start();
  expect((await (stepping as Stepping).jobs.wait(gid, { timeoutMs: 50_000 })).status).toBe('succeeded');

  const expected = ways.map((_, position) => `${gid}/00${position}`);
  // Late: all of them again, to both replicas, at once.
  await until(() => times.get(ways.length - 1) !== undefined);
  for (const status of await Promise.all(seen.flatMap((one) => [between.to(0, one), between.to(1, one)]))) expect(status).toBe(200);
  expect([...runs].sort()).toEqual(expected);
  expect(await database.deeds()).toEqual(expected);
}
