import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it, jest } from '@jest/globals';
import { gidFrom } from '@stepping/core';
import { freePort, testService } from '@stepping/test-services';
import { readShop } from '../src/demo/shop-records.js';
import { type Running, startScript } from './start-script.js';

const dtm = await testService('dtm');

// Several processes start in each test, on a busy machine.
jest.setTimeout(60_000);

dtm.describe('The order service with a DTM server', () => {
  let directory: string;
  let env: Record<string, string>;
  let outside: Running[];

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'stepping-sample-'));
    const payment = await startScript('../src/outside/payment-provider.ts', ['--ledger', join(directory, 'ledger')]);
    const smtp = await startScript('../src/outside/smtp-server.ts', ['--mailbox', join(directory, 'mailbox')]);
    outside = [payment, smtp];
    env = {
      STEPPING_TM: 'dtm',
      DTM_URL: await dtm.database(),
      STEPPING_SECRET: 'a secret of this test',
      STEPPING_DB_URL: join(directory, 'shop.sqlite'),
      PAYMENT_URL: payment.url,
      PAYMENT_API_KEY: 'test-key',
      SMTP_URL: smtp.url,
      PORT: String(await freePort()),
    };
  });
  afterEach(async () => {
    for (const server of outside) await server.kill();
    rmSync(directory, { recursive: true, force: true });
  });

  it('does the steps of an order, once, however often it was posted', async () => {
    const shop = await service();
    await fillStock(shop);
    const name = `order-${process.pid}-${Date.now()}`;
    const answers = await Promise.all([postUntilAnswered(shop, name), postUntilAnswered(shop, name)]);
    expect(answers.toSorted()).toEqual([200, 201]);
    await untilDone(shop);
    const { orders, reservations, stock } = await readShop(env.STEPPING_DB_URL as string);
    expect([orders.length, reservations.length, stock.get('tea')]).toEqual([1, 1, 8]);
    expect(await shop.stop()).toBe(0);
  });

  it('answers 410 for an order whose name the server takes never again, and takes it under another', async () => {
    const shop = await service();
    await fillStock(shop);
    const name = `order-${process.pid}-${Date.now()}`;
    const gid = gidFrom('order', name);
    await overDtm('prepare', { gid, trans_type: 'msg', steps: [], payloads: [], query_prepared: shop.url });
    await overDtm('abort', { gid, trans_type: 'msg' });
    const dead = await post(shop, name);
    expect([dead.status, await dead.text()]).toEqual([410, expect.stringContaining('under a new gid')]);
    expect(await postUntilAnswered(shop, `${name}-anew`)).toBe(201);
    await untilDone(shop);
    expect((await readShop(env.STEPPING_DB_URL as string)).orders.map(({ requestId }) => requestId)).toEqual([`${name}-anew`]);
    expect(await shop.stop()).toBe(0);
  });

  async function service(): Promise<Running> {
    const started = await startScript('../src/service/main.ts', [], env);
    outside.push(started);
    return started;
  }

  async function overDtm(verb: string, message: object): Promise<void> {
    const response = await fetch(`${env.DTM_URL}/api/dtmsvr/${verb}`, { method: 'POST', body: JSON.stringify(message) });
    expect(response.status).toBe(200);
  }
});

describe('The order service', () => {
  it('does not start with a DTM server and no secret, and says what to do', async () => {
    const starting = startScript('../src/service/main.ts', [], {
      STEPPING_TM: 'dtm',
      STEPPING_DB_URL: join(tmpdir(), 'never-made.sqlite'),
      PAYMENT_URL: 'http://127.0.0.1:1',
      PAYMENT_API_KEY: 'test-key',
      SMTP_URL: 'smtp://127.0.0.1:1',
    });
    await expect(starting).rejects.toThrow(/STEPPING_SECRET/);
  });
});

function post(shop: Running, requestId: string): Promise<Response> {
  return fetch(new URL('/orders', shop.url), {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': requestId },
    body: JSON.stringify({ customer: 'someone@mail.example', card: 'tok_visa', lines: [{ sku: 'tea', quantity: 2, unitPrice: 450 }] }),
  });
}

async function postUntilAnswered(shop: Running, requestId: string): Promise<number> {
  for (;;) {
    const { status } = await post(shop, requestId);
    if (status !== 503) return status;
  }
}

async function fillStock(shop: Running): Promise<void> {
  const response = await fetch(new URL('/stock/tea', shop.url), {
    method: 'PUT',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ available: 10 }),
  });
  expect(response.status).toBe(200);
}

async function untilDone(shop: Running): Promise<void> {
  for (;;) {
    const counts = (await (await fetch(new URL('/orders', shop.url))).json()) as { placed: number; done: number };
    if (counts.placed === 0 && counts.done > 0) return;
    await sleep(50);
  }
}
