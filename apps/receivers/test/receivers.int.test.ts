import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { Stepping } from '@stepping/core';
import { httpStep } from '@stepping/core/http';
import { createTestStepping } from '@stepping/tm-local/testing';
import { DataSource } from 'typeorm';
import { z } from 'zod';
import { Account, receiverApp, Transfer } from '../src/bank.js';
import { expressBank } from '../src/express-receiver.js';
import { fastifyBank } from '../src/fastify-receiver.js';

const folder = mkdtempSync(join(tmpdir(), 'stepping-receivers-'));
const dataSource = new DataSource({
  type: 'better-sqlite3',
  database: join(folder, 'bank.sqlite'),
  entities: [Account],
  synchronize: true,
  enableWAL: true,
});
let stepping: Stepping;

beforeAll(async () => {
  await dataSource.initialize();
  stepping = receiverApp(dataSource);
  await stepping.start();
});

afterAll(async () => {
  await stepping.stop();
  await dataSource.destroy();
  rmSync(folder, { recursive: true });
});

beforeEach(() => dataSource.getRepository(Account).save({ id: 'ada', balance: 0 }));

const balance = async () => (await dataSource.getRepository(Account).findOneByOrFail({ id: 'ada' })).balance;

const SERVERS: Record<string, () => Promise<Server>> = {
  Fastify: async () => {
    const app = fastifyBank(dataSource);
    await app.ready();
    return app.server;
  },
  Express: async () => createServer(expressBank(dataSource)),
};

describe.each(Object.entries(SERVERS))('A receiver on %s', (name, make) => {
  let server: Server;
  let url: string;
  let keys = 0;
  const newKey = () => `${name} ${++keys}: any text, "ä" and 🚚`;

  beforeAll(async () => {
    server = await make();
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/transfers`;
  });

  afterAll(() => new Promise((resolve) => server.close(resolve)));

  const post = async (key: string | undefined, body: unknown = { account: 'ada', amount: 10 }): Promise<number> => {
    const headers = { 'content-type': 'application/json', ...(key === undefined ? {} : { 'idempotency-key': encodeURIComponent(key) }) };
    const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body) });
    await response.text();
    return response.status;
  };

  it('books a transfer once, however often it is sent', async () => {
    const key = newKey();
    expect([await post(key), await post(key), await post(key)]).toEqual([201, 200, 200]);
    expect(await balance()).toBe(10);
    expect(await post(newKey())).toBe(201);
    expect(await balance()).toBe(20);
  });

  it('books it once when it is sent many times at once', async () => {
    const key = newKey();
    const statuses = await Promise.all(Array.from({ length: 8 }, () => post(key)));
    expect(statuses.sort()).toEqual([200, 200, 200, 200, 200, 200, 200, 201]);
    expect(await balance()).toBe(10);
  });

  it('refuses a request without a key, and one that it does not understand', async () => {
    expect(await post(undefined)).toBe(400);
    expect(await post(newKey(), { account: 'ada', amount: -1 })).toBe(400);
    expect(await balance()).toBe(0);
  });

  it('keeps no key of a transfer that it refused', async () => {
    const key = newKey();
    expect(await post(key, { account: 'bob', amount: 10 })).toBe(422);
    await dataSource.getRepository(Account).save({ id: 'bob', balance: 0 });
    expect(await post(key, { account: 'bob', amount: 10 })).toBe(201);
    await dataSource.getRepository(Account).delete('bob');
  });

  it('books what an HTTP step sends once, though the step did not hear the first answer', async () => {
    const deaf = await aDeafWay(url);
    const callBank = httpStep({
      name: 'bank.out',
      args: Transfer.extend({ url: z.url() }),
      request: ({ url: at, ...json }) => ({ url: at, json }),
    });
    const sender = await createTestStepping({ steps: [callBank] });
    await sender
      .createJob({ gid: `${name}-transfer` })
      .addStep(callBank, { url: deaf.url, account: 'ada', amount: 10 })
      .start();
    await sender.drain();
    expect(await sender.jobs.find(`${name}-transfer`)).toMatchObject({ status: 'submitted', attempt: 2 });
    expect(await balance()).toBe(10);
    await sender.clock.advance(60_000);
    await sender.drain();
    expect(await sender.jobs.find(`${name}-transfer`)).toMatchObject({ status: 'succeeded' });
    expect(await balance()).toBe(10);
    await sender.stop();
    await deaf.close();
  });
});

/** A way to the server on which the answer to the first request is lost. */
async function aDeafWay(to: string): Promise<{ url: string; close(): Promise<unknown> }> {
  let requests = 0;
  const proxy = createServer(async (request, response) => {
    const isFirst = ++requests === 1;
    const body: Buffer[] = [];
    for await (const chunk of request) body.push(chunk);
    const headers = { 'content-type': 'application/json', 'idempotency-key': String(request.headers['idempotency-key']) };
    const answer = await fetch(to, { method: 'POST', headers, body: Buffer.concat(body) });
    await answer.text();
    if (isFirst) response.destroy();
    else response.writeHead(answer.status).end();
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(proxy.address() as AddressInfo).port}/`, close: () => new Promise((resolve) => proxy.close(resolve)) };
}
