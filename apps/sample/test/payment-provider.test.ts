import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { readJsonLines } from '../src/outside/json-lines.js';
import type { LedgerLine } from '../src/outside/ledger.js';
import { type Running, startScript } from './start-script.js';

describe('The payment provider', () => {
  let directory: string;
  let provider: Running;

  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'stepping-payment-'));
    provider = await start();
  });
  afterEach(async () => {
    await provider.kill();
    rmSync(directory, { recursive: true, force: true });
  });

  it('charges once, however often it is asked with one key, and sometimes fails', async () => {
    const statuses = [];
    for (let attempt = 0; attempt < 60; attempt++) statuses.push(await charge('job/000', 100));
    expect(statuses).toContain(200);
    expect(statuses.filter((status) => typeof status === 'number' && status >= 500)).not.toEqual([]);
    expect(charged()).toEqual([expect.objectContaining({ key: 'job/000', reference: 'order', amount: 100 })]);
  });

  it('remembers what it charged after it was killed', async () => {
    await chargeUntilDone('job/000', 100);
    await provider.kill();
    provider = await start();
    await chargeUntilDone('job/000', 100);
    expect(charged()).toHaveLength(1);
  });

  it('refuses another charge under a key that it knows, and one without the API key', async () => {
    await chargeUntilDone('job/000', 100);
    expect(await chargeUntil('job/000', 999, (status) => status < 500)).toBe(422);
    const anonymous = await fetch(new URL('/charges', provider.url), { method: 'POST', body: '{}' });
    expect(anonymous.status).toBe(401);
    expect(charged()).toHaveLength(1);
  });

  it('holds a request open when told to, until its client is gone', async () => {
    const held = fetch(new URL('/control/hold', provider.url), { method: 'POST' }).then((response) => response.json());
    const client = new AbortController();
    const pending = charge('job/001', 5, client.signal);
    const { request } = (await held) as { request: string };
    expect(await openRequests()).toBe(1);
    client.abort();
    expect(await pending).toBe('no answer');
    while ((await openRequests()) > 0);
    const lines = readJsonLines<LedgerLine>(join(directory, 'ledger')).filter((line) => line.request === request);
    expect(lines.map(({ what }) => what)).toEqual(expect.arrayContaining(['received', 'abandoned']));
    expect(lines.map(({ what }) => what)).not.toContain('answered');
  });

  function start(): Promise<Running> {
    return startScript('../src/outside/payment-provider.ts', ['--ledger', join(directory, 'ledger'), '--seed', '4']);
  }

  function charged(): LedgerLine[] {
    return readJsonLines<LedgerLine>(join(directory, 'ledger')).filter(({ what }) => what === 'charged');
  }

  async function charge(key: string, amount: number, signal = AbortSignal.timeout(300)): Promise<number | 'no answer'> {
    try {
      const response = await fetch(new URL('/charges', provider.url), {
        method: 'POST',
        headers: { authorization: 'Bearer test-key', 'idempotency-key': key, 'content-type': 'application/json' },
        body: JSON.stringify({ reference: 'order', amount }),
        signal,
      });
      if (response.status === 503) expect(response.headers.get('retry-after')).not.toBeNull();
      return response.status;
    } catch {
      return 'no answer';
    }
  }

  async function chargeUntil(key: string, amount: number, enough: (status: number) => boolean): Promise<number> {
    for (;;) {
      const status = await charge(key, amount);
      if (status !== 'no answer' && enough(status)) return status;
    }
  }

  async function chargeUntilDone(key: string, amount: number): Promise<void> {
    await chargeUntil(key, amount, (status) => status === 200);
  }

  async function openRequests(): Promise<number> {
    const response = await fetch(new URL('/control/open', provider.url));
    return ((await response.json()) as { open: number }).open;
  }
});
