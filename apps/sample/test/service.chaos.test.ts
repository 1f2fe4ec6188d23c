import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { testService } from '@stepping/test-services';
import { readShop } from '../src/demo/shop-records.js';
import { readJsonLines } from '../src/outside/json-lines.js';
import type { Mail } from '../src/outside/smtp-server.js';
import { type Running, startScript } from './start-script.js';

const postgres = await testService('postgres');
const mariadb = await testService('mariadb');
const mongodb = await testService('mongodb');

// Several processes start in each test, on a busy machine.
jest.setTimeout(60_000);

describe('The order service on SQLite', () => {
  describeService(async (directory) => ({ STEPPING_DB: 'sqlite', STEPPING_DB_URL: join(directory, 'shop.sqlite') }));
});

postgres.describe('The order service on PostgreSQL', () => {
  describeService(async () => ({ STEPPING_DB: 'postgres', STEPPING_DB_URL: await postgres.database() }));
});

mariadb.describe('The order service on MariaDB', () => {
  describeService(async () => ({ STEPPING_DB: 'mariadb', STEPPING_DB_URL: await mariadb.database() }));
});

mongodb.describe('The order service on MongoDB', () => {
  describeService(async () => ({ STEPPING_DB: 'mongo', STEPPING_DB_URL: await mongodb.database() }));
});

mongodb.describe('The order service with orders in MongoDB and jobs in SQLite', () => {
  describeService(async (directory) => ({
    STEPPING_DB: 'sqlite',
    STEPPING_DB_URL: join(directory, 'jobs.sqlite'),
    STEPPING_BUSINESS_DB: await mongodb.database(),
  }));
});

mongodb.describe('The order service with orders in SQLite and jobs in MongoDB', () => {
  describeService(async (directory) => ({
    STEPPING_DB: 'mongo',
    STEPPING_DB_URL: await mongodb.database(),
    STEPPING_BUSINESS_DB: join(directory, 'shop.sqlite'),
  }));
});

function describeService(databases: (directory: string) => Promise<Record<string, string>>): void {
  let directory: string;
  let env: Record<string, string>;
  let outside: Running[];

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'stepping-sample-'));
    const payment = await startScript('../src/outside/payment-provider.ts', ['--ledger', join(directory, 'ledger')]);
    const smtp = await startScript('../src/outside/smtp-server.ts', ['--mailbox', mailbox()]);
    outside = [payment, smtp];
    env = { ...(await databases(directory)), PORT: '0', PAYMENT_URL: payment.url, PAYMENT_API_KEY: 'test-key', SMTP_URL: smtp.url };
  });
  afterEach(async () => {
    for (const server of outside) await server.kill();
    rmSync(directory, { recursive: true, force: true });
  });

  it('does the steps of an order that another process took, once, however often it was posted', async () => {
    const web = await service('web');
    await fillStock(web, 10);
    const answers = await Promise.all([
      postUntilAnswered(web, 'order-1'),
      postUntilAnswered(web, 'order-1'),
      postUntilAnswered(web, 'order-1'),
    ]);
    expect(answers.map(({ status }) => status).sort()).toEqual([200, 200, 201]);
    const [id] = new Set(answers.map(({ order }) => order.id)) as Set<string>;
    expect(await statusOf(web, id as string)).toBe('placed');

    const worker = await service('worker');
    await untilDone(web, id as string);

    const { orders, reservations, stock } = await readShop(shopDatabase());
    expect(orders).toHaveLength(1);
    expect(reservations).toHaveLength(1);
    expect(stock.get('tea')).toBe(8);
    expect(new Set(readJsonLines<Mail>(mailbox()).map(({ messageId }) => messageId)).size).toBe(1);
    expect([await web.stop(), await worker.stop()]).toEqual([0, 0]);
  });

  it('lets a second worker end what a killed one had begun', async () => {
    const web = await service('web');
    await fillStock(web, 100);
    const payment = outside[0] as Running;
    const held = fetch(new URL('/control/hold', payment.url), { method: 'POST' });
    const first = await service('worker');
    const { order } = await postUntilAnswered(web, 'order-1');
    await held;
    await first.kill();
    await fetch(new URL('/control/release', payment.url), { method: 'POST' });
    const second = await service('worker');
    await untilDone(web, order.id);
    expect([await web.stop(), await second.stop()]).toEqual([0, 0]);
  });

  it('keeps nothing of an order that it refuses after having written it', async () => {
    const shop = await service('all');
    const refused = await post(shop, 'order-1', { blocked: true });
    expect(refused.status).toBe(422);
    expect((await readShop(shopDatabase())).orders).toEqual([]);
    expect(await jobs(shop)).toEqual({});
    // Its name is free again.
    await fillStock(shop, 10);
    const { status, order } = await postUntilAnswered(shop, 'order-1');
    expect(status).toBe(201);
    await untilDone(shop, order.id);
    expect(await shop.stop()).toBe(0);
  });

  it('says what is wrong with a request', async () => {
    const shop = await service('all');
    const without = await fetch(new URL('/orders', shop.url), {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(ORDER),
    });
    expect([without.status, await without.text()]).toEqual([400, expect.stringContaining('Idempotency-Key is missing')]);
    const empty = await post(shop, 'order-1', { lines: [] });
    expect([empty.status, await empty.text()]).toEqual([400, expect.stringContaining('lines')]);
    expect((await fetch(new URL('/orders/none', shop.url))).status).toBe(404);
    expect(await shop.stop()).toBe(0);
  });

  it('ends when the requests are answered that it had begun, although their clients keep the connection', async () => {
    const shop = await service('all');
    const agent = new Agent({ keepAlive: true });
    const body = JSON.stringify({ available: 3 });
    const headers = { 'content-type': 'application/json', 'content-length': body.length };
    const filling = httpRequest(new URL('/stock/tea', shop.url), { method: 'PUT', agent, headers });
    await new Promise((sent) => filling.write(body.slice(0, 5), sent));
    await fetch(new URL('/health', shop.url)); // by now it has the other one, too
    const ended = shop.stop();
    while (!shop.output().includes('stopping')) await sleep(20);
    filling.end(body.slice(5));
    const [answer] = (await once(filling, 'response')) as [IncomingMessage];
    answer.resume();
    expect([answer.statusCode, await ended]).toEqual([200, 0]);
    agent.destroy();
  });

  async function service(role: 'web' | 'worker' | 'all'): Promise<Running> {
    const started = await startScript('../src/service/main.ts', [], { ...env, STEPPING_ROLE: role });
    outside.push(started);
    return started;
  }

  function shopDatabase(): string {
    return (env.STEPPING_BUSINESS_DB ?? env.STEPPING_DB_URL) as string;
  }

  function mailbox(): string {
    return join(directory, 'mailbox');
  }
}

const ORDER = { customer: 'someone@mail.example', card: 'tok_visa', lines: [{ sku: 'tea', quantity: 2, unitPrice: 450 }] };

function post(shop: Running, requestId: string, changes: object = {}): Promise<Response> {
  return fetch(new URL('/orders', shop.url), {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': requestId },
    body: JSON.stringify({ ...ORDER, ...changes }),
  });
}

/** As a client should: 503 says that nobody knows yet, and to ask again. */
async function postUntilAnswered(shop: Running, requestId: string): Promise<{ status: number; order: { id: string } }> {
  for (;;) {
    const response = await post(shop, requestId);
    if (response.status !== 503) return { status: response.status, order: (await response.json()) as { id: string } };
    expect(response.headers.get('retry-after')).toBe('1');
  }
}

async function fillStock(shop: Running, available: number): Promise<void> {
  const response = await fetch(new URL('/stock/tea', shop.url), {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ available }),
  });
  expect(response.status).toBe(200);
}

async function statusOf(shop: Running, id: string): Promise<string> {
  const response = await fetch(new URL(`/orders/${id}`, shop.url));
  return ((await response.json()) as { status: string }).status;
}

async function untilDone(shop: Running, id: string): Promise<void> {
  while ((await statusOf(shop, id)) !== 'done') await sleep(50);
}

async function jobs(shop: Running): Promise<object> {
  const response = await fetch(new URL('/jobs', shop.url));
  return (await response.json()) as object;
}
