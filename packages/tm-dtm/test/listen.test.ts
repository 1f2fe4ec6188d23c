import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { silentLogger } from '@stepping/core';
import { CallbackServer, type ListenOptions } from '../src/listen.js';

const servers: CallbackServer[] = [];
afterEach(() => Promise.all(servers.splice(0).map((server) => server.stop())));

function aServer(handle: (request: Request) => Promise<Response>, options: Partial<ListenOptions> = {}): CallbackServer {
  const server = new CallbackServer({ port: 0, host: '127.0.0.1', ...options }, handle, silentLogger);
  servers.push(server);
  return server;
}

describe('The small server of dtm({ listen })', () => {
  it('hands every request over, whatever its path, and says what was answered', async () => {
    const seen: string[] = [];
    const port = await aServer(async (request) => {
      seen.push(`${request.method} ${new URL(request.url).pathname}${new URL(request.url).search} ${await request.text()}`);
      return new Response(null, { status: 425 });
    }).start();
    const asked = await fetch(`http://127.0.0.1:${port}/any/path?x=1`, { method: 'POST', body: '{"a":1}' });
    expect([asked.status, await asked.text()]).toEqual([425, '']);
    // DTM closes idle connections after 90 s; whoever is second never closes one that a callback is just sent on.
    expect(asked.headers.get('keep-alive')).toBe('timeout=100');
    expect(seen).toEqual(['POST /any/path?x=1 {"a":1}']);
  });

  it('cannot start on a port that is taken, and says which', async () => {
    const taken = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => taken.once('listening', resolve));
    const { port } = taken.address() as AddressInfo;
    await expect(aServer(async () => new Response(), { port }).start()).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(`port ${port} of 127\\.0\\.0\\.1.*EADDRINUSE`),
    });
    await new Promise((resolve) => taken.close(resolve));
  });

  it('answers at its stop what is on its way, closes what is only kept alive, and frees its port', async () => {
    const { promise, resolve } = Promise.withResolvers<Response>();
    const asked = Promise.withResolvers<void>();
    const server = aServer((request) => {
      if (request.method === 'GET') return Promise.resolve(new Response());
      asked.resolve();
      return promise;
    });
    const port = await server.start();
    await fetch(`http://127.0.0.1:${port}/`); // leaves a connection behind
    const open = fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: 'x' });
    await asked.promise;
    const stopped = server.stop();
    resolve(new Response(null, { status: 200 }));
    expect((await open).status).toBe(200);
    await stopped;
    await aServer(async () => new Response(), { port }).start();
  });

  it('ends though somebody is never answered', async () => {
    const asked = Promise.withResolvers<void>();
    const server = aServer(() => {
      asked.resolve();
      return new Promise(() => {});
    });
    const port = await server.start();
    const open = fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: 'x' }).catch(() => 'closed');
    await asked.promise;
    await server.stop();
    expect(await open).toBe('closed');
  });

  it('may be stopped though it was never started', async () => {
    await aServer(async () => new Response()).stop();
  });
});
