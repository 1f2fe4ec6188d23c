import { describe, expect, it } from '@jest/globals';
import type { LedgerClaim } from '@stepping/core';
import { ProcessLedger } from './process-ledger.js';

const key = { gid: 'order-1', instance: 'an-instance', position: 0 };
const error = { name: 'Error', message: 'not now' };
const claim = (token: string, more: Partial<LedgerClaim> = {}): LedgerClaim => ({
  ...key,
  generation: 0,
  token,
  maxAttempts: undefined,
  leaseMs: 10_000,
  ...more,
});
const failed = (delayMs = 0) => ({ end: 'retry', delayMs, intervalMs: 20_000, error }) as const;

describe('What a process remembers of steps that no database counts', () => {
  it('counts the attempts, and knows who holds the step', async () => {
    const ledger = new ProcessLedger();
    expect(await ledger.begin(claim('a'))).toEqual({ answer: 'begun', attempt: 1, intervalMs: undefined });
    expect(await ledger.begin(claim('a'))).toEqual({ answer: 'begun', attempt: 1, intervalMs: undefined });
    expect(await ledger.begin(claim('b'))).toMatchObject({ answer: 'wait' });
    expect([await ledger.extend({ ...key, token: 'a' }, 10_000), await ledger.extend({ ...key, token: 'b' }, 10_000)]).toEqual([
      true,
      false,
    ]);
    expect(await ledger.end({ ...key, token: 'b' }, { end: 'done' })).toBe(false);
    expect(await ledger.end({ ...key, token: 'a' }, failed())).toBe(true);
    expect(await ledger.end({ ...key, token: 'a' }, failed())).toBe(true);
    expect(await ledger.begin(claim('b'))).toEqual({ answer: 'begun', attempt: 2, intervalMs: 20_000 });
    expect(await ledger.end({ ...key, token: 'b' }, { end: 'hand-back' })).toBe(true);
    expect(await ledger.begin(claim('c'))).toMatchObject({ answer: 'begun', attempt: 2 });
  });

  it('keeps a step until its backoff has passed', async () => {
    const ledger = new ProcessLedger();
    await ledger.begin(claim('a'));
    await ledger.end({ ...key, token: 'a' }, failed(60_000));
    expect(await ledger.begin(claim('b'))).toMatchObject({ answer: 'wait', inMs: expect.any(Number) });
    expect(await ledger.read('order-1', 'an-instance')).toMatchObject([
      { state: 'open', attempts: 1, lastError: error, dueAt: expect.any(Date) },
    ]);
  });

  it('begins none that is done or dead, but a dead one anew for the next generation', async () => {
    const ledger = new ProcessLedger();
    await ledger.begin(claim('a'));
    await ledger.end({ ...key, token: 'a' }, { end: 'dead', error });
    expect(await ledger.begin(claim('b'))).toEqual({ answer: 'dead' });
    expect(await ledger.begin(claim('c', { generation: 1 }))).toMatchObject({ answer: 'begun', attempt: 1 });
    expect(await ledger.begin(claim('d'))).toEqual({ answer: 'dead' });
    await ledger.end({ ...key, token: 'c' }, { end: 'done' });
    expect(await ledger.begin(claim('e', { generation: 2 }))).toEqual({ answer: 'done' });
  });

  it('buries one whose attempts are used up, be it that its holder went silent or that fewer are allowed by now, and says so to one claim', async () => {
    const ledger = new ProcessLedger();
    await ledger.begin(claim('a', { leaseMs: 0 }));
    expect(await ledger.begin(claim('b', { maxAttempts: 1 }))).toEqual({ answer: 'dead', buried: true });
    expect(await ledger.begin(claim('b', { maxAttempts: 1 }))).toEqual({ answer: 'dead', buried: true });
    expect(await ledger.begin(claim('c', { maxAttempts: 1 }))).toEqual({ answer: 'dead' });
    const other = { ...claim('a'), position: 1 };
    await ledger.begin(other);
    await ledger.end({ ...key, position: 1, token: 'a' }, failed());
    expect(await ledger.begin({ ...other, token: 'b', maxAttempts: 1 })).toEqual({ answer: 'dead', buried: true });
    expect((await ledger.read('order-1', 'an-instance')).map(({ lastError }) => lastError?.message)).toEqual([
      expect.stringMatching('Worker lost'),
      'not now',
    ]);
  });

  it('forgets what was untouched for longest when there is too much of it', async () => {
    const ledger = new ProcessLedger();
    for (let position = 0; position <= 10_000; position++) await ledger.begin({ ...claim('a'), position });
    expect(await ledger.begin(claim('b'))).toMatchObject({ answer: 'begun', attempt: 1 });
    expect(await ledger.begin({ ...claim('b'), position: 10_000 })).toMatchObject({ answer: 'wait' });
  });
});
