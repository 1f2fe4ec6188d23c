import { once } from 'node:events';
import { createServer } from 'node:net';
import { inspect } from 'node:util';
import { gzipSync } from 'node:zlib';
import { SteppingError, type SteppingErrorCode, token, unchecked } from '@stepping/core';
import { type HttpRequest, httpStep } from '@stepping/core/http';
import { runStep } from '@stepping/core/testing';
import { RecordingServer } from './recording-server.js';

let server: RecordingServer;
beforeEach(async () => {
  server = await RecordingServer.listen();
});
afterEach(async () => {
  await server[Symbol.asyncDispose]();
});

const never = new AbortController().signal;

/** Runs one attempt of a step that sends this request, and gives back what it threw. */
async function attempt(
  request: HttpRequest,
  more: Partial<Parameters<typeof httpStep>[0]> = {},
  context: { signal?: AbortSignal; attempt?: number } = {},
): Promise<unknown> {
  const step = httpStep({ name: 'test.http', request: () => request, ...more } as Parameters<typeof httpStep>[0]);
  return runStep(step, { signal: never, ...context } as never).then(
    () => undefined,
    (error: unknown) => error,
  );
}

function expectCode(error: unknown, code: SteppingErrorCode): SteppingError {
  if (!SteppingError.is(error, code)) throw new Error(`expected ${code}, got ${inspect(error)}`);
  return error;
}

/** A plain error: the step is tried again by its own policy. */
function expectTriedAgain(error: unknown): Error {
  if (!(error instanceof Error) || SteppingError.is(error)) throw new Error(`expected a plain error, got ${inspect(error)}`);
  return error;
}

describe('the request', () => {
  it.each(['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const)('is sent with method %s', async (method) => {
    expect(await attempt({ method, url: `${server.origin}/a` })).toBeUndefined();
    expect(server.only).toMatchObject({ method, url: '/a' });
    expect(server.only.body).toHaveLength(0);
    expect(server.only.headers).not.toHaveProperty('content-type');
  });

  it('is a POST unless it says otherwise', async () => {
    await attempt({ url: server.origin });
    expect(server.only.method).toBe('POST');
  });

  it('carries its query after the one that the URL has, arrays as repeated names, and nothing for undefined', async () => {
    await attempt({
      url: `${server.origin}/a?keep=%20+x#part`,
      query: { n: 1, yes: true, text: 'ü & =', list: ['a', 2], none: undefined },
    });
    expect(server.only.url).toBe('/a?keep=%20+x&n=1&yes=true&text=%C3%BC+%26+%3D&list=a&list=2');
  });

  it.each<[string, HttpRequest, string, string]>([
    ['json', { url: '', json: { a: [1, 'ü', null] } }, 'application/json', '{"a":[1,"ü",null]}'],
    ['json null', { url: '', json: null }, 'application/json', 'null'],
    ['text', { url: '', text: 'grüße' }, 'text/plain; charset=utf-8', 'grüße'],
    ['empty text', { url: '', text: '' }, 'text/plain; charset=utf-8', ''],
    ['form', { url: '', form: { a: '1 2', b: 'ü&' } }, 'application/x-www-form-urlencoded', 'a=1+2&b=%C3%BC%26'],
    ['bytes', { url: '', bytes: new Uint8Array([0, 1, 254, 255]).subarray(1) }, 'application/octet-stream', '\u0001\xfe\xff'],
  ])('has a body of %s', async (_, request, type, body) => {
    await attempt({ ...request, url: server.origin });
    expect(server.only.headers['content-type']).toBe(type);
    expect(server.only.headers['content-length']).toBe(String(server.only.body.length));
    expect(server.only.body.toString(request.bytes ? 'latin1' : 'utf8')).toBe(body);
  });

  it.each(['GET', 'DELETE', 'PUT', 'PATCH'] as const)('has its body with %s, too', async (method) => {
    await attempt({ method, url: server.origin, json: { a: 1 } });
    expect(server.only).toMatchObject({ method, body: Buffer.from('{"a":1}') });
  });

  it('has its own content type if it names one', async () => {
    await attempt({ url: server.origin, json: {}, headers: { 'Content-Type': 'application/merge-patch+json' } });
    expect(server.only.headers['content-type']).toBe('application/merge-patch+json');
  });

  it('is built from the args as the schema gives them', async () => {
    const step = httpStep({
      name: 'test.args',
      args: unchecked<{ id: string }>(),
      request: ({ id }) => ({ method: 'PUT', url: `${server.origin}/orders/${id}`, json: { id } }),
    });
    await runStep(step, { args: { id: '7' } });
    expect(server.only).toMatchObject({ method: 'PUT', url: '/orders/7', body: Buffer.from('{"id":"7"}') });
  });
});

describe('the idempotency key', () => {
  it('is that of the step, the same on every attempt', async () => {
    const step = httpStep({ name: 'test.key', request: () => ({ url: server.origin }) });
    await runStep(step, { gid: 'job-1', attempt: 1 });
    await runStep(step, { gid: 'job-1', attempt: 2 });
    await runStep(step, { gid: 'job-1', attempt: 2, idempotencyKey: 'job-1/004' });
    expect(server.received.map(({ headers }) => headers['idempotency-key'])).toEqual(['job-1/000', 'job-1/000', 'job-1/004']);
  });

  it('is the one that the request sets, whatever the case of its name', async () => {
    await attempt({ url: server.origin, headers: { 'IDEMPOTENCY-KEY': 'mine' } });
    expect(server.only.headers['idempotency-key']).toBe('mine');
  });
});

describe('headers()', () => {
  const Secrets = token<{ key(): Promise<string> }>('Secrets');

  it('is asked at every attempt, with deps and tenant, and wins over the headers of the request', async () => {
    let asked = 0;
    const step = httpStep({
      name: 'test.headers',
      inject: { secrets: Secrets },
      request: () => ({ url: server.origin, headers: { Authorization: 'old', 'x-kept': 'yes' } }),
      headers: async ({ deps, tenant }) => ({ authorization: `Bearer ${await deps.secrets.key()} of ${tenant}` }),
    });
    const deps = { secrets: { key: async () => `key-${++asked}` } };
    await runStep(step, { deps, tenant: 'acme' });
    await runStep(step, { deps, tenant: 'acme' });
    expect(server.received.map(({ headers }) => headers.authorization)).toEqual(['Bearer key-1 of acme', 'Bearer key-2 of acme']);
    expect(server.received[0]?.headers['x-kept']).toBe('yes');
  });

  it('leaves nothing of what it gave in the step, which is the same before and after', async () => {
    const step = httpStep({
      name: 'test.stored',
      request: () => ({ url: server.origin }),
      headers: () => ({ authorization: 'Bearer s3cr3t' }),
    });
    await runStep(step, {});
    expect(inspect(step, { depth: null, showHidden: true })).not.toContain('s3cr3t');
  });

  it('may return what cannot be sent, and is asked again at the next attempt', async () => {
    const error = expectTriedAgain(await attempt({ url: server.origin }, { headers: () => ({ authorization: 'Bearer s3cr3t\n' }) }));
    expect(error.message).toBe(
      'headers() of step test.http returned what cannot be sent: the header authorization contains a line break or another character that a header cannot hold.',
    );
    expect(server.received).toEqual([]);
  });
});

describe('the answer', () => {
  it.each([200, 201, 202, 204, 299])('%i is success', async (status) => {
    server.answers(status);
    expect(await attempt({ url: server.origin })).toBeUndefined();
  });

  it.each([400, 405, 410, 413, 414, 415, 422])('%i fails for good', async (status) => {
    server.answers(status);
    const { message } = expectCode(await attempt({ url: `${server.origin}/a` }), 'STEP_PERMANENT');
    expect(message).toBe(
      `POST ${server.origin}/a answered ${status}. A repeat would not help: mend the request or the args, then redrive the job.`,
    );
  });

  it.each([401, 402, 403, 404, 406, 407, 408, 409, 411, 423, 425, 429, 451, 500, 501, 502, 503, 504])(
    '%i is tried again',
    async (status) => {
      server.answers(status);
      expect(expectTriedAgain(await attempt({ url: `${server.origin}/a` })).message).toBe(`POST ${server.origin}/a answered ${status}`);
    },
  );

  it('means what outcome() says, where it says something', async () => {
    const outcome = (status: number) => ({ 409: 'succeed', 404: 'fail', 422: 'retry' })[status] as 'succeed' | 'fail' | 'retry' | undefined;
    const statuses: [number, string | undefined][] = [
      [409, undefined],
      [404, 'STEP_PERMANENT'],
      [422, 'plain'],
      [500, 'plain'],
      [400, 'STEP_PERMANENT'],
    ];
    for (const [status, expected] of statuses) {
      server.answers(status);
      const error = await attempt({ url: server.origin }, { outcome });
      expect(SteppingError.is(error) ? error.code : error && 'plain').toBe(expected);
    }
  });

  it('is cited in the error when it is text, on one line and not at length', async () => {
    server.answers(422, { 'content-type': 'application/problem+json' }, '{\n  "title": "amount is negative"\n}');
    expect(String(await attempt({ url: server.origin }))).toContain('answered 422: { "title": "amount is negative" }. A repeat');
    server.answers(500, { 'content-type': 'text/plain' }, 'x'.repeat(100_000));
    expect(String(await attempt({ url: server.origin }))).toMatch(/answered 500: x{300}…$/);
    server.answers(500, { 'content-type': 'text/html' }, '<h1>Oops</h1>');
    expect(String(await attempt({ url: server.origin }))).toMatch(/answered 500$/);
  });

  it('may be as large as maxResponseBytes and no larger, also when it was compressed', async () => {
    const url = `${server.origin}/large`;
    server.answers(200, {}, Buffer.alloc(1_048_576));
    expect(await attempt({ url })).toBeUndefined();
    server.answers(200, {}, Buffer.alloc(1_048_577));
    expect(expectTriedAgain(await attempt({ url })).message).toBe(
      `POST ${url} answered 200 with more than 1048576 bytes. Raise maxResponseBytes or ask for less.`,
    );
    server.answers(200, { 'content-encoding': 'gzip' }, gzipSync(Buffer.alloc(1_001)));
    expect(expectTriedAgain(await attempt({ url, maxResponseBytes: 1_000 })).message).toContain('more than 1000 bytes');
    expect(await attempt({ url, maxResponseBytes: 1_001 })).toBeUndefined();
  });

  it('that breaks off is no success', async () => {
    server.answer = (_, response) => {
      response.writeHead(200, { 'content-length': '100' });
      response.write('half', () => response.destroy());
    };
    expect(expectTriedAgain(await attempt({ url: server.origin })).message).toMatch(/answered 200, but its body broke off/);
  });
});

describe('Retry-After', () => {
  const delayOf = async () => expectCode(await attempt({ url: server.origin }), 'STEP_RETRY_AFTER').details.delayMs;

  it.each([429, 503, 404])('in seconds puts the next attempt off, on %i', async (status) => {
    server.answers(status, { 'retry-after': '120' });
    const error = expectCode(await attempt({ url: `${server.origin}/a` }), 'STEP_RETRY_AFTER');
    expect(error.details.delayMs).toBe(120_000);
    expect(error.message).toBe(`POST ${server.origin}/a answered ${status}, and to come back in 120000 ms`);
  });

  it('as a date is measured by the clock of the server that wrote it', async () => {
    server.answers(503, { date: 'Sun, 06 Nov 1994 08:49:37 GMT', 'retry-after': 'Sun, 06 Nov 1994 08:50:07 GMT' });
    expect(await delayOf()).toBe(30_000);
  });

  it('as a date without a Date beside it is measured by our clock', async () => {
    server.answer = (_, response) => {
      response.sendDate = false;
      response.writeHead(503, { 'retry-after': new Date(Date.now() + 60_000).toUTCString() }).end();
    };
    const delayMs = Number(await delayOf());
    expect(delayMs).toBeGreaterThan(50_000);
    expect(delayMs).toBeLessThanOrEqual(60_000);
  });

  it('of more than a day is a day', async () => {
    server.answers(503, { 'retry-after': '31536000' });
    expect(await delayOf()).toBe(86_400_000);
  });

  it.each(['0', 'Sun, 06 Nov 1994 08:49:37 GMT', 'soon', '-5', ''])('%j leaves the backoff of the step in charge', async (value) => {
    server.answers(503, { 'retry-after': value });
    expectTriedAgain(await attempt({ url: server.origin }));
  });

  it('does not delay a step that has failed for good', async () => {
    server.answers(422, { 'retry-after': '120' });
    expectCode(await attempt({ url: server.origin }), 'STEP_PERMANENT');
  });
});

describe('a redirect', () => {
  it.each([301, 302, 303, 307, 308])('%i is refused, naming the target', async (status) => {
    server.answers(status, { location: '/b?token=s3cr3t' });
    const { message } = expectCode(await attempt({ url: `${server.origin}/a` }), 'STEP_PERMANENT');
    expect(message).toBe(
      `POST ${server.origin}/a answered ${status}, a redirect to ${server.origin}/b?…. Request that URL itself, or set followRedirects.`,
    );
    expect(server.received).toHaveLength(1);
  });

  it.each([
    [301, 'POST', 'GET'],
    [302, 'POST', 'GET'],
    [303, 'PUT', 'GET'],
    [301, 'PUT', 'PUT'],
    [307, 'POST', 'POST'],
    [308, 'DELETE', 'DELETE'],
  ] as const)('%i of a %s is followed as a %s when asked to', async (status, method, followed) => {
    server.answer = ({ url }, response) => (url === '/a' ? response.writeHead(status, { location: '/b' }).end() : response.end());
    expect(
      await attempt({ method, url: `${server.origin}/a`, json: { a: 1 }, followRedirects: true, headers: { authorization: 'key' } }),
    ).toBeUndefined();
    const last = server.received[1];
    expect(last).toMatchObject({ method: followed, url: '/b', headers: { authorization: 'key', 'idempotency-key': 'test-job/000' } });
    expect(last?.body.toString()).toBe(followed === 'GET' ? '' : '{"a":1}');
    expect(last?.headers['content-type']).toBe(followed === 'GET' ? undefined : 'application/json');
  });

  it('carries no credentials to another host, and none when it comes back', async () => {
    await using other = await RecordingServer.listen();
    server.answer = ({ url }, response) =>
      url === '/a' ? response.writeHead(307, { location: `${other.origin}/b` }).end() : response.end();
    other.answers(307, { location: `${server.origin}/c` });
    const error = await attempt(
      {
        url: `${server.origin}/a`,
        followRedirects: true,
        headers: { cookie: 'c', 'x-api-key': 'k', 'x-kept': 'yes', host: 'virtual.example', 'idempotency-key': 'mine' },
      },
      { headers: () => ({ 'x-tenant-signature': 's', authorization: 'a' }) },
    );
    expect(error).toBeUndefined();
    expect(server.received[0]?.headers).toMatchObject({ cookie: 'c', 'x-api-key': 'k', authorization: 'a', host: 'virtual.example' });
    for (const { headers } of [other.only, server.received[1] as (typeof server.received)[0]]) {
      expect(headers).toMatchObject({ 'x-kept': 'yes', 'idempotency-key': 'mine' });
      for (const name of ['cookie', 'x-api-key', 'authorization', 'x-tenant-signature']) expect(headers).not.toHaveProperty(name);
      expect(headers.host).not.toBe('virtual.example');
    }
  });

  it('that leads nowhere, or on and on, fails for good', async () => {
    const follow = { url: `${server.origin}/a`, followRedirects: true };
    server.answers(302, { location: '/a' });
    expect(expectCode(await attempt(follow), 'STEP_PERMANENT').message).toContain('the 6th in a row');
    expect(server.received).toHaveLength(6);
    server.answers(302, { location: 'ftp://files.example/x' });
    expect(expectCode(await attempt(follow), 'STEP_PERMANENT').message).toContain('which is not an http or https URL');
    server.answers(302);
    expectCode(await attempt(follow), 'STEP_PERMANENT');
  });

  it('is named with the server that answered last', async () => {
    server.answer = ({ url }, response) =>
      url === '/a' ? response.writeHead(303, { location: '/b' }).end() : response.writeHead(500).end();
    expect(String(await attempt({ url: `${server.origin}/a`, followRedirects: true }))).toBe(`Error: GET ${server.origin}/b answered 500`);
  });
});

describe('the signal', () => {
  it('ends a request that gets no answer, with its own reason', async () => {
    const abort = new AbortController();
    const reason = new SteppingError('STEP_TIMEOUT', 'too slow');
    server.answer = () => abort.abort(reason);
    expect(await attempt({ url: server.origin }, {}, { signal: abort.signal })).toBe(reason);
  });

  it('ends an answer that stalls in the middle', async () => {
    const abort = new AbortController();
    let closed: Promise<unknown> | undefined;
    server.answer = (_, response) => {
      closed = once(response, 'close');
      response.writeHead(200, { 'content-length': '100' });
      response.write('half', () => abort.abort());
    };
    expect(await attempt({ url: server.origin }, {}, { signal: abort.signal })).toBe(abort.signal.reason);
    await closed;
  });

  it('that is aborted already sends nothing', async () => {
    expect(await attempt({ url: server.origin }, {}, { signal: AbortSignal.abort() })).toHaveProperty('name', 'AbortError');
    expect(server.received).toEqual([]);
  });
});

describe('what can never be sent fails for good', () => {
  it.each<[string, HttpRequest, string]>([
    ['a relative URL', { url: '/charges?key=s3cr3t' }, '"/charges?…" is not an absolute http or https URL.'],
    ['no URL at all', { url: undefined as unknown as string }, '"undefined" is not an absolute http or https URL.'],
    ['another scheme', { url: 'ftp://bank.example/x' }, '"ftp://bank.example/x" is not an absolute http or https URL.'],
    ['a broken URL with a login', { url: 'http://me:s3cr3t@bank example/x' }, '"…@bank example/x" is not an absolute http or https URL.'],
    [
      'a login in the URL',
      { url: 'https://me:s3cr3t@bank.example/x' },
      'the URL https://bank.example/x has a user name or password in it. Send credentials as a header, from headers().',
    ],
    ['two bodies', { url: 'http://x', json: {}, text: '' }, 'it has 2 bodies, json and text. Leave one of them.'],
    [
      'three bodies',
      { url: 'http://x', form: {}, json: 0, bytes: new Uint8Array() },
      'it has 3 bodies, json and form and bytes. Leave one of them.',
    ],
    [
      'a json body that is none',
      { url: 'http://x', json: 1n },
      'its json body cannot be written as JSON: Do not know how to serialize a BigInt.',
    ],
    ['a function as json body', { url: 'http://x', json: () => 1 }, 'its json body cannot be written as JSON: a function is not JSON.'],
    ['a bad header name', { url: 'http://x', headers: { 'a b': '1' } }, '"a b" is not the name of a header.'],
    [
      'a bad header value',
      { url: 'http://x', headers: { 'x-a': 's3cr3t\r\nx-b: 1' } },
      'the header x-a contains a line break or another character that a header cannot hold.',
    ],
    [
      'a header that is undefined',
      { url: 'http://x', headers: { 'x-a': undefined as unknown as string } },
      'the header x-a is undefined, not a string.',
    ],
    [
      'a header that frames the body',
      { url: 'http://x', headers: { 'Content-Length': '3' } },
      'Content-Length is set by the body. Leave it out.',
    ],
    [
      'an unknown method',
      { url: 'http://x', method: 'post' as 'POST' },
      '"post" is not one of GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS.',
    ],
    ['a limit that is no number', { url: 'http://x', maxResponseBytes: Number.NaN }, 'maxResponseBytes is NaN, not a number of bytes.'],
  ])('%s', async (_, request, problem) => {
    const error = expectCode(await attempt(request), 'STEP_PERMANENT');
    expect(error.message).toBe(`The request of step test.http cannot be sent: ${problem}`);
    expect(inspect(error, { depth: null, showHidden: true })).not.toContain('s3cr3t');
  });
});

describe('errors', () => {
  const SECRETS = ['s3cr3t-bearer', 's3cr3t-cookie', 's3cr3t-query', 's3cr3t-basic'];
  const basic = Buffer.from('me:s3cr3t-basic').toString('base64');
  const secretive = (url: string): HttpRequest => ({
    url,
    query: { api_key: 's3cr3t-query' },
    headers: { cookie: 'lang=de; sid=s3cr3t-cookie', 'x-auth': `Basic ${basic}` },
    json: {},
  });
  const headers = () => ({ authorization: 'Bearer s3cr3t-bearer' });

  function expectNoSecret(error: unknown): void {
    const everything = inspect(error, { depth: null, showHidden: true, getters: true });
    for (const secret of [...SECRETS, basic]) expect(everything).not.toContain(secret);
  }

  it.each([
    ['retries', 503, {}],
    ['is told when to come back', 503, { 'retry-after': '5' }],
    ['fails', 422, {}],
    ['is redirected', 302, { location: 'http://me:s3cr3t-basic@other.example/x?api_key=s3cr3t-query' }],
    ['is redirected to what is no URL', 302, { location: 'http://me:s3cr3t-basic@bad host/' }],
  ])('hold no credentials where the step %s', async (_, status, more) => {
    server.answers(status, more);
    const error = await attempt(secretive(server.origin), { headers });
    expect(error).toBeInstanceOf(Error);
    expectNoSecret(error);
  });

  it.each([
    ['a header', (echo: string) => echo],
    ['a token', (echo: string) => echo.replaceAll('Bearer ', '')],
    ['a cookie', () => 'no session s3cr3t-cookie'],
    ['a decoded login', () => 'unknown user me, password s3cr3t-basic'],
    ['a query', () => 'bad key s3cr3t-query'],
  ])('do not cite an answer that repeats %s', async (_, text) => {
    server.answer = ({ headers }, response) => response.writeHead(422, { 'content-type': 'text/plain' }).end(text(JSON.stringify(headers)));
    const error = await attempt(secretive(server.origin), { headers });
    expectCode(error, 'STEP_PERMANENT');
    expectNoSecret(error);
  });

  it.each([
    ['too large', (s: RecordingServer) => s.answers(200, {}, Buffer.alloc(2_000_000))],
    [
      'broken off',
      (s: RecordingServer) => {
        s.answer = (_, response) => response.destroy();
      },
    ],
  ])('hold no credentials where the answer is %s', async (_, prepare) => {
    prepare(server);
    const error = expectTriedAgain(await attempt(secretive(server.origin), { headers }));
    expectNoSecret(error);
    expect(error.message).toContain(`POST ${server.origin}/?… `);
  });

  it('say that nobody listens, and are tried again', async () => {
    const closed = createServer();
    await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
    const { port } = closed.address() as { port: number };
    await new Promise((resolve) => closed.close(resolve));
    const error = expectTriedAgain(await attempt(secretive(`http://127.0.0.1:${port}/a`), { headers }));
    expect(error.message).toBe(`POST http://127.0.0.1:${port}/a?… got no answer: connect ECONNREFUSED 127.0.0.1:${port}`);
    expect(error.cause).toBeUndefined();
    expectNoSecret(error);
  });

  it('pass through what headers() throws', async () => {
    const error = new Error('vault is sealed');
    expect(await attempt({ url: server.origin }, { headers: () => Promise.reject(error) })).toBe(error);
  });
});
