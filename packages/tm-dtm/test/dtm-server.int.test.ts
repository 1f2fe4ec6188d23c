import type { RequestListener } from 'node:http';
import { afterEach, describe, expect, it } from '@jest/globals';
import { newGid } from '@stepping/core';
import { testService } from '@stepping/test-services';
import { memoryDb } from '@stepping/tm-local/testing';
import { anUntrustedServer, aServer, stopServers } from './support/a-server.js';
import { aDtmApp, newDtmApp, note, SECRET, stopDtmApps, until } from './support/dtm-app.js';
import { cutLines, Line } from './support/line.js';

const dtm = await testService('dtm');
const serverUrl = dtm.available ? await dtm.database() : '';
afterEach(stopDtmApps);
afterEach(cutLines);
afterEach(stopServers);

async function startError(url: string) {
  const { stepping } = await newDtmApp({ serverUrl: url });
  return stepping.start().catch((error: unknown) => error);
}

const answering =
  (status: number, body: string, headers = {}): RequestListener =>
  (_, response) =>
    void response.writeHead(status, headers).end(body);

describe('stepping.start() with a serverUrl', () => {
  it('where nothing is, throws STORE_UNAVAILABLE, naming it and the reason', async () => {
    await expect(startError('http://127.0.0.1:1')).resolves.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(/http:\/\/127\.0\.0\.1:1.*ECONNREFUSED.*serverUrl/),
    });
    await expect(startError('http://dtm.invalid:36789')).resolves.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      message: expect.stringMatching(/dtm\.invalid.*ENOTFOUND|EAI_AGAIN/),
    });
  });

  it('whose server is down behind a proxy, or says nothing, throws STORE_UNAVAILABLE', async () => {
    const proxy = await aServer(answering(503, '<html>no upstream</html>'));
    const mute = await aServer(() => {});
    const [down, silent] = await Promise.all([startError(proxy), startError(mute)]);
    expect(down).toMatchObject({ code: 'STORE_UNAVAILABLE', message: expect.stringContaining('503') });
    expect(silent).toMatchObject({ code: 'STORE_UNAVAILABLE', message: expect.stringContaining('5000 ms') });
  });

  it('of something else, throws STORE_REFUSED, and says what it answered', async () => {
    const said = {
      HTML: [200, '<!doctype html><title>Welcome</title>', {}, /Welcome/],
      'not found': [404, '404 page not found', {}, /404 page not found/],
      'other JSON': [200, '{"status":"ok"}', {}, /no version/],
      'JSON that is no object': [200, '[]', {}, /no version/],
      nothing: [200, '', {}, /nothing/],
      'a login': [302, '', { location: 'https://login.example/' }, /redirect to https:\/\/login\.example/],
      'a wish for credentials': [401, 'who are you?', {}, /401.*who are you/],
    } as const;
    for (const [what, [status, body, headers, text]] of Object.entries(said)) {
      const error = await startError(await aServer(answering(status, body, headers)));
      expect([what, error]).toEqual([what, expect.objectContaining({ code: 'STORE_REFUSED', message: expect.stringMatching(text) })]);
    }
  });

  it('whose certificate nobody trusts, or that speaks no TLS, throws STORE_REFUSED, naming the reason', async () => {
    const untrusted = await anUntrustedServer(answering(200, '{"version":"1"}'));
    await expect(startError(untrusted)).resolves.toMatchObject({
      code: 'STORE_REFUSED',
      message: expect.stringMatching(/self.signed certificate.*NODE_EXTRA_CA_CERTS/),
    });
    const plain = await aServer(answering(200, '{"version":"1"}'));
    await expect(startError(plain.replace('http:', 'https:'))).resolves.toMatchObject({
      code: 'STORE_REFUSED',
      message: expect.stringContaining('TLS'),
    });
  });
});

dtm.describe('A DTM server', () => {
  it('is found by its URL with a path before or after, and with credentials for what stands before it, which nobody is shown', async () => {
    const seen: (string | undefined)[] = [];
    const proxy = await aServer(async (request, response) => {
      seen.push(request.headers.authorization);
      const answer = await fetch(`${serverUrl}${request.url?.replace('/jobs', '')}`);
      response.writeHead(answer.status).end(await answer.text());
    });
    const withCredentials = `${proxy.replace('://', '://me:p%40ss@')}/jobs/`;
    for (const url of [serverUrl, `${serverUrl}/api/dtmsvr`, withCredentials]) {
      const app = await aDtmApp({ serverUrl: url });
      expect(app.log).toContainEqual(expect.objectContaining({ message: 'found a DTM server' }));
      expect(JSON.stringify(app.log)).not.toContain('p%40ss');
      await app.stop();
    }
    expect(seen[0]).toBe(`Basic ${Buffer.from('me:p@ss').toString('base64')}`);
  });

  it('that turns into something else later does not lose a job without a word', async () => {
    const line = await Line.to(serverUrl);
    const app = await aDtmApp({ serverUrl: line.url });
    const start = () => app.stepping.createJob().addStep(note, { n: 1 }).start();
    line.always('prepare', (response) => void response.writeHead(200).end('<html>maintenance</html>'));
    await expect(start()).rejects.toMatchObject({ code: 'STORE_REFUSED', message: expect.stringContaining('maintenance') });
    line.always('prepare', (response) => void response.writeHead(413).end());
    await expect(start()).rejects.toMatchObject({ code: 'JOB_TOO_LARGE' });
    // A store of its own that is down for a moment is not the end of a start.
    line.heal();
    line.once('prepare', (response) => void response.writeHead(500).end('{"message":"dial tcp 10.0.0.1:6379: connection refused"}'));
    await expect(start()).resolves.toMatchObject({ status: 'submitted' });
  });

  it('is told of no signature in what is logged, and nobody is shown one in an error', async () => {
    const line = await Line.to(serverUrl);
    const app = await aDtmApp({ serverUrl: line.url });
    for (const verb of ['prepare', 'submit', 'query'])
      line.always(
        verb,
        (response) => void response.writeHead(500).end('{"message":"Post \\"http://x/?stepping=step&s=SIGNATURE&gid=1\\": EOF"}'),
      );
    const error = await app.stepping.jobs.find(newGid()).catch((thrown: Error) => thrown);
    expect((error as Error).message).toContain('EOF');
    expect((error as Error).message).not.toContain('SIGNATURE');
    expect(JSON.stringify(app.log)).not.toContain('SIGNATURE');
  });
});

dtm.describe('The self-test of a callback URL', () => {
  it('says nothing when the server reaches it, also when the app listens only a while after stepping.start()', async () => {
    let opens = 0;
    const app = await aDtmApp({
      serverUrl,
      before: (_, response) => {
        if (++opens > 2) return false;
        response.destroy();
        return true;
      },
    });
    await until('it came through', () => app.callbacks.length > 2);
    await app.stop();
    expect(app.log.filter(({ level }) => level === 'warn')).toEqual([]);
  });

  it('warns once for each URL that the server does not reach, with the reason that the server has', async () => {
    const elsewhere = await aServer(answering(404, 'Cannot POST /stepping'));
    const other = await aDtmApp({ serverUrl, dtm: { secret: 'another one' } });
    const warned = async (callbackUrl: string, secret = SECRET) => {
      const app = await aDtmApp({ serverUrl, dtm: { callbackUrl, secret } });
      await until('it warned', () => app.log.some(({ level }) => level === 'warn'));
      const [warning, ...more] = app.log.filter(({ level }) => level === 'warn');
      expect(more).toEqual([]);
      expect(warning?.message).toContain(callbackUrl);
      expect(JSON.stringify(warning)).not.toMatch(/[?&]s=\w/);
      return warning?.fields.reason as string;
    };
    const [refused, unknown, wrong, forged] = await Promise.all([
      warned('http://127.0.0.1:1/stepping'),
      warned('http://orders.invalid/stepping'),
      warned(`${elsewhere}/stepping`),
      warned(other.callbackUrl),
    ]);
    expect(refused).toContain('connection refused');
    expect(unknown).toMatch(/no such host|server misbehaving|Temporary failure/);
    expect(wrong).toContain('Cannot POST /stepping');
    expect(forged).toContain('another secret');
  });

  it('is made by an app without steps, too, which is asked about the transactions of its jobs', async () => {
    const asked: string[] = [];
    const callbackUrl = (queue: string) => {
      asked.push(queue);
      return 'http://127.0.0.1:1/stepping';
    };
    const app = await aDtmApp({ serverUrl, steps: [], use: memoryDb({ name: 'shop' }), dtm: { callbackUrl } });
    await until('it warned', () => app.log.some(({ level }) => level === 'warn'));
    expect(new Set(asked)).toEqual(new Set(['~db/memory/shop']));
  });

  it('ends with the app, and leaves nothing behind that the server would try for ever', async () => {
    const line = await Line.to(serverUrl);
    const app = await aDtmApp({ serverUrl: line.url, dtm: { callbackUrl: 'http://127.0.0.1:1/stepping' } });
    await until('it was sent', () => line.arrived.includes('submit'));
    const before = performance.now();
    await app.stepping.stop();
    expect(performance.now() - before).toBeLessThan(10_000);
    expect(line.arrived).toContain('forceStop');
    expect(app.log.filter(({ level }) => level === 'warn')).toEqual([]);
  });
});
