import { afterAll, expect, it } from '@jest/globals';
import { startDtm, testService } from '@stepping/test-services';
import { HttpDtmServer } from '../src/http-dtm-server.js';
import { aMessage, DtmApi } from './support/dtm-api.js';
import { gap, type Received, RecordingEndpoint } from './support/recording-endpoint.js';

// What our client takes for granted of a DTM server, pinned on one. The numbers are those of the list of protocol tests; 19 to 26 and the rest are in protocol-app.int.test.ts, 27 and 28 are
// about sagas, 30 to 32 about gRPC. They wait for the server most of the time, so they run side by side: on one server, but for those that keep its only retry loop busy or kill it.

const service = await testService('dtm-own');
const shared = service.available ? await startDtm() : undefined;
const endpoint = await RecordingEndpoint.listen();
afterAll(() => endpoint.close());

/** Unit: ms. */
const SLOW_TEST_MS = 60_000;

const api = new DtmApi(shared?.url ?? '');
const client = new HttpDtmServer(new URL(shared?.url ?? 'http://localhost'));
const identity = (gid: string, branch_id: string, op: string) => ({ gid, trans_type: 'msg', branch_id, op });
const submitted = async (urls: readonly string[], more: Readonly<Record<string, unknown>> = {}) => {
  const message = aMessage(urls, more);
  expect((await api.post('submit', message)).status).toBe(200);
  return message.gid;
};
const prepared = async (urls: readonly string[], more: Readonly<Record<string, unknown>> = {}) => {
  const message = aMessage(urls, more);
  expect((await api.post('prepare', message)).status).toBe(200);
  return message;
};

service.describe(`a DTM server (${shared?.version})`, () => {
  it.concurrent('1: draws gids that are distinct and fit into a URL', async () => {
    const drawn = await Promise.all([api.get('newGid'), api.get('newGid')]);
    const [one, other] = drawn.map(({ json }) => json.gid as string);
    expect(one).toMatch(/^[A-Za-z0-9_-]+$/);
    expect(other).toMatch(/^[A-Za-z0-9_-]+$/);
    expect(one).not.toBe(other);
  });

  it.concurrent('2: posts each payload as it is, in order, and says which branch of which message it is', async () => {
    const payloads = ['{"sku":7, "no":"te ü"}', 'no JSON at all'];
    const sentAt = performance.now();
    const gid = await submitted([endpoint.url('/2/a'), endpoint.url('/2/b')], { payloads });
    const [[first], [second]] = [await endpoint.until('/2/a', 1), await endpoint.until('/2/b', 1)] as [Received[], Received[]];
    expect([first, second].map((one) => [one?.method, one?.body])).toEqual(payloads.map((payload) => ['POST', payload]));
    expect(first?.query).toEqual(identity(gid, '01', 'action'));
    expect(second?.query).toEqual(identity(gid, '02', 'action'));
    expect(second?.at).toBeGreaterThan(first?.at as number);
    expect((first?.at as number) - sentAt).toBeLessThan(5_000);
    await api.untilStatus(gid, 'succeed');
  });

  it.concurrent('3: gets a step whose payload is empty, without a body', async () => {
    const gid = await submitted([endpoint.url('/3')], { payloads: [''] });
    const [request] = await endpoint.until('/3', 1);
    expect(request).toMatchObject({ method: 'GET', body: '', query: identity(gid, '01', 'action') });
  });

  it.concurrent('4: calls the steps that were prepared, whatever the submit says', async () => {
    const message = await prepared([endpoint.url('/4/prepared')]);
    const other = { ...aMessage([endpoint.url('/4/other'), endpoint.url('/4/another')]), gid: message.gid };
    expect((await api.post('submit', other)).status).toBe(200);
    await api.untilStatus(message.gid, 'succeed');
    expect(endpoint.at('/4/prepared')).toHaveLength(1);
    expect([...endpoint.at('/4/other'), ...endpoint.at('/4/another')]).toEqual([]);
  });

  it.concurrent('5: answers a second prepare like the first, and ignores what is in it', async () => {
    const message = await prepared([endpoint.url('/5/first')]);
    const other = { ...aMessage([endpoint.url('/5/second')]), gid: message.gid };
    expect(await api.post('prepare', other)).toMatchObject({ status: 200, json: { dtm_result: 'SUCCESS' } });
    await api.post('submit', message);
    await api.untilStatus(message.gid, 'succeed');
    expect([endpoint.at('/5/first').length, endpoint.at('/5/second').length]).toEqual([1, 0]);
  });

  it.concurrent('6: takes a message that was aborted neither as submitted nor as prepared again; our client says "refused"', async () => {
    const message = await prepared([endpoint.url('/6')], { query_prepared: endpoint.url('/6/question') });
    expect((await api.post('abort', { gid: message.gid })).status).toBe(200);
    for (const verb of ['submit', 'prepare']) {
      const { status, json } = await api.post(verb, message);
      expect([status, json.dtm_result]).toEqual([409, 'FAILURE']);
      expect(json.message).toContain("'failed'");
    }
    expect(await client.submit(message as never)).toBe('refused');
    expect(await client.prepare(message as never)).toBe('refused');
    expect(await client.abort(message.gid)).toBe('refused');
    expect(endpoint.at('/6')).toEqual([]);
  });

  it.concurrent('7: refuses to submit a message again that has succeeded', async () => {
    const message = aMessage([endpoint.url('/7')]);
    await api.post('submit', message);
    await api.untilStatus(message.gid, 'succeed');
    const { status, json } = await api.post('submit', message);
    expect([status, json.message]).toEqual([409, expect.stringContaining("'succeed'")]);
    expect(await client.submit(message as never)).toBe('refused');
    expect(endpoint.at('/7')).toHaveLength(1);
  });

  it.concurrent('8: answers the abort of a gid that it does not know with 500, which is no success to our client', async () => {
    const { gid } = aMessage([]);
    expect((await api.post('abort', { gid })).status).toBe(500);
    await expect(client.abort(gid)).rejects.toThrow(/answered abort with 500/);
    expect(await client.query(gid)).toBeUndefined();
  });

  it.concurrent(
    '9: calls a step that answered 500 again after twice the interval, and not the steps before it',
    async () => {
      const gid = await submitted([endpoint.url('/9/a'), endpoint.url('/9/b', 500, 200)], { retry_interval: 1 });
      expect(gap(await endpoint.until('/9/b', 2), 0)).toBeGreaterThan(1_900);
      await api.untilStatus(gid, 'succeed');
      expect([endpoint.at('/9/a').length, endpoint.at('/9/b').length]).toEqual([1, 2]);
    },
    SLOW_TEST_MS,
  );

  it.concurrent(
    '10: calls a step that answered 425 again after its interval, which stays what it was',
    async () => {
      const gid = await submitted([endpoint.url('/10', 425, 425, 425, 200)], { retry_interval: 1 });
      const calls = await endpoint.until('/10', 4);
      for (const first of [0, 1, 2]) expect(gap(calls, first)).toBeGreaterThan(900);
      // Doubled, the last one alone would take 8 s.
      expect(gap(calls, 2)).toBeLessThan(6_000);
      await api.untilStatus(gid, 'succeed');
    },
    SLOW_TEST_MS,
  );

  it.concurrent(
    '11: calls a step that answered 409 again, and never gives it up',
    async () => {
      const gid = await submitted([endpoint.url('/11/a', 409, 409, 200), endpoint.url('/11/b')], { retry_interval: 1 });
      await endpoint.until('/11/a', 2);
      expect(await api.statusOf(gid)).toBe('submitted');
      expect(endpoint.at('/11/b')).toEqual([]);
      await api.untilStatus(gid, 'succeed');
    },
    SLOW_TEST_MS,
  );

  it.concurrent(
    '12: takes 204 for a failure',
    async () => {
      const gid = await submitted([endpoint.url('/12', 204, 200)], { retry_interval: 1 });
      await endpoint.until('/12', 2);
      await api.untilStatus(gid, 'succeed');
    },
    SLOW_TEST_MS,
  );

  it.concurrent(
    '13: takes a body with the word FAILURE or ONGOING in it for what it says, whatever the status',
    async () => {
      const urls = [
        endpoint.url('/13/a', { status: 200, body: '{"x":"FAILURE"}' }, 200),
        endpoint.url('/13/b', { status: 200, body: 'it is ONGOING' }, 200),
      ];
      const gid = await submitted(urls, { retry_interval: 1 });
      await api.untilStatus(gid, 'succeed');
      expect([endpoint.at('/13/a').length, endpoint.at('/13/b').length]).toEqual([2, 2]);
    },
    SLOW_TEST_MS,
  );

  it.concurrent('14: answers who waits for the result of a failing step with 409 or 500, and keeps the message', async () => {
    for (const [answer, status] of [
      [409, 409],
      [425, 409],
      [500, 500],
    ] as const) {
      const message = aMessage([endpoint.url(`/14/${answer}`, answer)], { wait_result: true });
      expect([answer, (await api.post('submit', message)).status]).toEqual([answer, status]);
      expect(await api.statusOf(message.gid)).toBe('submitted');
      await api.post('forceStop', { gid: message.gid });
    }
  });

  it.concurrent(
    '15: asks about a message that stays prepared, and runs its steps when the answer is 200',
    async () => {
      const gid = (await prepared([endpoint.url('/15')], { timeout_to_fail: 3, query_prepared: endpoint.url('/15/question?ours=1') })).gid;
      const preparedAt = performance.now();
      const [question] = await endpoint.until('/15/question', 1);
      expect(question).toMatchObject({ method: 'GET', body: '', query: { ours: '1', ...identity(gid, '00', 'msg') } });
      expect((question?.at as number) - preparedAt).toBeGreaterThan(1_900);
      await endpoint.until('/15', 1);
      await api.untilStatus(gid, 'succeed');
    },
    SLOW_TEST_MS,
  );

  it.concurrent(
    '16: gives a message up when the answer to its question is 409',
    async () => {
      const message = await prepared([endpoint.url('/16')], { timeout_to_fail: 3, query_prepared: endpoint.url('/16/question', 409) });
      await api.untilStatus(message.gid, 'failed');
      expect((await api.post('submit', message)).status).toBe(409);
      expect(endpoint.at('/16')).toEqual([]);
    },
    SLOW_TEST_MS,
  );

  it.concurrent(
    '17: asks again after the same time when the answer is 425',
    async () => {
      const question = endpoint.url('/17/question', 425, 425, 200);
      const gid = (await prepared([endpoint.url('/17')], { timeout_to_fail: 3, query_prepared: question })).gid;
      const asked = await endpoint.until('/17/question', 3);
      expect(gap(asked, 0)).toBeGreaterThan(2_500);
      expect(gap(asked, 1)).toBeLessThan(9_000);
      await api.untilStatus(gid, 'succeed');
    },
    SLOW_TEST_MS,
  );

  it.concurrent(
    '18: asks again after twice the time when the answer is 500',
    async () => {
      const gid = (await prepared([endpoint.url('/18')], { timeout_to_fail: 3, query_prepared: endpoint.url('/18/question', 500, 200) }))
        .gid;
      expect(gap(await endpoint.until('/18/question', 2), 0)).toBeGreaterThan(5_500);
      await api.untilStatus(gid, 'succeed');
    },
    SLOW_TEST_MS,
  );

  it.concurrent('29: sends branch headers to the steps, and to whoever answers the question', async () => {
    const more = { timeout_to_fail: 3, query_prepared: endpoint.url('/29/question'), branch_headers: { 'X-Given-Header': 'as it is' } };
    await prepared([endpoint.url('/29')], more);
    const [question] = await endpoint.until('/29/question', 1);
    const [call] = await endpoint.until('/29', 1);
    expect([question, call].map((one) => one?.headers['x-given-header'])).toEqual(['as it is', 'as it is']);
  });

  it.concurrent(
    '33: waits for an answer for as many seconds as it was told, and calls again after that',
    async () => {
      // Both keep a retry loop busy.
      const [impatient, patient] = await Promise.all([startDtm(), startDtm()]);
      const slow = { status: 200, afterMs: 2_000 };
      const first = aMessage([endpoint.url('/33/a', slow, 200)], { request_timeout: 1, retry_interval: 1 });
      const second = aMessage([endpoint.url('/33/b', { status: 200, afterMs: 4_000 })], { request_timeout: 6 });
      const [apiOfFirst, apiOfSecond] = [new DtmApi(impatient.url), new DtmApi(patient.url)];
      await Promise.all([apiOfFirst.post('submit', first), apiOfSecond.post('submit', second)]);
      await Promise.all([apiOfFirst.untilStatus(first.gid, 'succeed'), apiOfSecond.untilStatus(second.gid, 'succeed')]);
      expect([endpoint.at('/33/a').length, endpoint.at('/33/b').length]).toEqual([2, 1]);
      await Promise.all([impatient.kill(), patient.kill()]);
    },
    SLOW_TEST_MS,
  );

  it.concurrent(
    '34: waits with a message for its delay',
    async () => {
      const sentAt = performance.now();
      const gid = await submitted([endpoint.url('/34')], { custom_data: '{"delay":3}' });
      const [call] = await endpoint.until('/34', 1);
      expect((call?.at as number) - sentAt).toBeGreaterThan(2_500);
      await api.untilStatus(gid, 'succeed');
    },
    SLOW_TEST_MS,
  );

  it.concurrent(
    '35: goes on after it was killed: with the step that was interrupted, and not with those before it',
    async () => {
      const server = await startDtm();
      const own = new DtmApi(server.url);
      // Nobody is answered before the server is dead, however long that takes.
      const killed = Promise.withResolvers<void>();
      const held = endpoint.url('/35/b', { status: 200, after: killed.promise });
      const message = aMessage([endpoint.url('/35/a'), held, endpoint.url('/35/c')], { retry_interval: 2, request_timeout: 60 });
      await own.post('submit', message);
      await endpoint.until('/35/b', 1);
      await server.kill();
      const before = endpoint.at('/35/b').length;
      killed.resolve();
      await server.restart();
      await own.untilStatus(message.gid, 'succeed');
      expect(['a', 'b', 'c'].map((step) => endpoint.at(`/35/${step}`).length)).toEqual([1, before + 1, 1]);
      await server.kill();
    },
    SLOW_TEST_MS,
  );
});
