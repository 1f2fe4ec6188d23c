import { createServer, type RequestListener, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from '@jest/globals';
import { defineStep, nodeHandler, unchecked } from '@stepping/core';
import express from 'express';
import fastify from 'fastify';
import { anEndpoint, LEDGER_REF, stopApps, type TestEndpoint } from './support/an-endpoint.js';
import { aStepMessage, type CallbackParts, questionCallback, stepCallback, toRequest } from './support/callbacks.js';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0)) await close();
  await stopApps();
});

async function anApp(): Promise<TestEndpoint & { ran: string[] }> {
  const ran: string[] = [];
  const step = defineStep({ name: 'charge', args: unchecked<{ to: string }>(), run: ({ args }) => void ran.push(args.to) });
  const app = await anEndpoint({ steps: [step] });
  app.database.answer = async () => 'rolled-back';
  return { ...app, ran };
}

/** Serves on a free port of loopback; its origin. */
async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  closing.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Sends a callback to a server as DTM does; status and body. */
async function send(origin: string, path: string, parts: CallbackParts): Promise<[number, string]> {
  const { search } = new URL(toRequest(parts).url);
  const headers = { 'content-type': 'application/json' };
  const answered = await fetch(`${origin}${path}${search}`, {
    method: parts.method,
    headers,
    ...(parts.method === 'POST' ? { body: parts.text } : {}),
  });
  return [answered.status, await answered.text()];
}

const aStep = (to = 'Zoë ☕') => stepCallback(aStepMessage({ args: JSON.stringify({ to }), ledger: LEDGER_REF }));
const aQuestion = () => questionCallback({ db: LEDGER_REF });

/** Steps, questions and forgeries find their answer, without a body. */
async function expectServes(app: TestEndpoint & { ran: string[] }, origin: string, path: string): Promise<void> {
  expect(await send(origin, path, aStep())).toEqual([200, '']);
  expect(app.ran).toEqual(['Zoë ☕']);
  expect(await send(origin, path, aQuestion())).toEqual([409, '']);
  expect(await send(origin, path, { ...aStep('Mallory'), signature: aStep().signature })).toEqual([403, '']);
  expect(app.ran).toHaveLength(1);
}

async function expectReports(app: TestEndpoint & { ran: string[] }, origin: string, path: string): Promise<void> {
  const [status] = await send(origin, path, aStep());
  expect(status).toBe(500);
  expect(app.ran).toEqual([]);
  const errors = app.log.filter(({ level }) => level === 'error');
  expect(errors).toHaveLength(1);
  expect(errors[0]?.message).toMatch(/body parser in front of nodeHandler.*Mount nodeHandler before/);
}

describe('nodeHandler', () => {
  it('serves callbacks in node:http', async () => {
    const app = await anApp();
    await expectServes(app, await serve(nodeHandler(app.stepping)), '/stepping');
  });

  it('serves them in Express 5, mounted as a route or as a path', async () => {
    const app = await anApp();
    const server = express();
    server.all('/stepping', nodeHandler(app.stepping));
    server.use(express.json());
    await expectServes(app, await serve(server), '/stepping');
    const mounted = await anApp();
    const other = express();
    other.use('/api/stepping', nodeHandler(mounted.stepping));
    await expectServes(mounted, await serve(other), '/api/stepping');
  });

  it('takes from a parser in Express what it kept as it came: a Buffer or a text', async () => {
    for (const parser of [express.raw({ type: '*/*' }), express.text({ type: '*/*' })]) {
      const app = await anApp();
      const server = express();
      server.use(parser);
      server.all('/stepping', nodeHandler(app.stepping));
      await expectServes(app, await serve(server), '/stepping');
    }
  });

  it('reports a parser of Express that has read the callback', async () => {
    const app = await anApp();
    const server = express();
    server.use(express.json());
    server.all('/stepping', nodeHandler(app.stepping));
    const origin = await serve(server);
    await expectReports(app, origin, '/stepping');
    // What has no body was not read.
    expect(await send(origin, '/stepping', aQuestion())).toEqual([409, '']);
  });

  it('serves them in Fastify 5 before it parses', async () => {
    const app = await anApp();
    const handler = nodeHandler(app.stepping);
    const server = fastify();
    server.route({
      method: ['GET', 'POST'],
      url: '/stepping',
      onRequest: (incoming, reply) => {
        reply.hijack();
        handler(incoming.raw, reply.raw);
      },
      handler: () => {},
    });
    closing.push(() => server.close());
    await expectServes(app, await server.listen({ port: 0, host: '127.0.0.1' }), '/stepping');
  });

  it('serves them in Fastify 5 where nothing parses', async () => {
    const app = await anApp();
    const handler = nodeHandler(app.stepping);
    const server = fastify();
    await server.register(async (scope) => {
      scope.removeAllContentTypeParsers();
      scope.addContentTypeParser('*', (_request, _payload, done) => done(null));
      scope.all('/stepping', (incoming, reply) => {
        reply.hijack();
        handler(incoming.raw, reply.raw);
      });
    });
    closing.push(() => server.close());
    await expectServes(app, await server.listen({ port: 0, host: '127.0.0.1' }), '/stepping');
  });

  it('reports that Fastify has parsed the callback', async () => {
    const app = await anApp();
    const handler = nodeHandler(app.stepping);
    const server = fastify();
    server.all('/stepping', (incoming, reply) => {
      reply.hijack();
      handler(incoming.raw, reply.raw);
    });
    closing.push(() => server.close());
    await expectReports(app, await server.listen({ port: 0, host: '127.0.0.1' }), '/stepping');
  });

  it('refuses a body of more than 8 MiB, also one whose length nobody said', async () => {
    const app = await anApp();
    const origin = await serve(nodeHandler(app.stepping));
    const { search } = new URL(toRequest(aStep()).url);
    const status = await new Promise((resolve, reject) => {
      const sent = request(`${origin}/${search}`, { method: 'POST' }, (response) => resolve(response.statusCode));
      sent.on('error', reject);
      const more = () => {
        while (!sent.destroyed && sent.write(Buffer.alloc(65_536)));
      };
      sent.on('drain', more);
      more();
    });
    expect(status).toBe(413);
    expect(app.ran).toEqual([]);
  });

  it('takes the largest job that could be started', async () => {
    const app = await anApp();
    const origin = await serve(nodeHandler(app.stepping));
    // Quotes, which become twice as long in a text in a text.
    const to = '"'.repeat(1_300_000);
    expect(await send(origin, '/', aStep(to))).toEqual([200, '']);
    expect(app.ran).toEqual([to]);
  });

  it('outlives a sender that hangs up in the middle', async () => {
    const app = await anApp();
    const origin = await serve(nodeHandler(app.stepping));
    const { search } = new URL(toRequest(aStep()).url);
    await new Promise<void>((resolve) => {
      const sent = request(`${origin}/${search}`, { method: 'POST', headers: { 'content-length': 1_000 } });
      sent.on('error', () => resolve());
      sent.write('{', () => sent.destroy());
      sent.on('close', resolve);
    });
    await expectServes(app, origin, '/stepping');
  });

  it('serves a request whose Host is none, and one with an absolute URL', async () => {
    const app = await anApp();
    const origin = await serve(nodeHandler(app.stepping));
    const { search } = new URL(toRequest(aQuestion()).url);
    const ask = (path: string, host: string) =>
      new Promise((resolve, reject) => {
        request({ host: '127.0.0.1', port: new URL(origin).port, path, headers: { host } }, (response) => resolve(response.statusCode))
          .on('error', reject)
          .end();
      });
    expect(await ask(`/stepping${search}`, 'not a host:name')).toBe(409);
    expect(await ask(`http://dtm.example:1/stepping${search}`, 'dtm.example')).toBe(409);
    expect(await ask(`http://dtm.example${search}`, 'dtm.example')).toBe(409);
  });

  it('answers 404 where the transaction manager calls nobody back', async () => {
    const handle = async () => new Response(null, { status: 404 });
    const origin = await serve(nodeHandler({ handle, resolve: () => undefined as never }));
    expect((await fetch(origin)).status).toBe(404);
  });
});
