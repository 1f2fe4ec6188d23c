import { afterEach, describe, expect, it } from '@jest/globals';
import type { LedgerClaim } from '@stepping/core';
import { describeStepLedger } from '../../core/src/testing/describe-step-ledger.js';
import { ProcessLedger } from './process-ledger.js';

const now = performance.now;
afterEach(() => {
  performance.now = now;
});

const key = { gid: 'order-1', instance: 'an-instance', position: 0 };
const claim = (token: string, more: Partial<LedgerClaim> = {}): LedgerClaim => ({
  ...key,
  generation: 0,
  token,
  maxAttempts: undefined,
  leaseMs: 10_000,
  ...more,
});

describe('What a process remembers of steps that no database counts', () => {
  const ledger = new ProcessLedger();
  let passedMs = 0;
  describeStepLedger({
    describe,
    // It has no retention: what it has no place for goes, and all of it with the process.
    it: (title, body) => void (title.startsWith('forgets in a sweep') || it(title, body)),
    harness: () =>
      ({
        provider: { ledger },
        ref: { provider: 'process', name: 'process' },
        async age(_gid: string, ms: number) {
          passedMs += ms;
          performance.now = () => now.call(performance) + passedMs;
        },
      }) as never,
  });

  it('forgets what was untouched for longest when there is too much of it', async () => {
    const ledger = new ProcessLedger();
    for (let position = 0; position <= 10_000; position++) await ledger.begin({ ...claim('a'), position });
    expect(await ledger.begin(claim('b'))).toMatchObject({ answer: 'begun', attempt: 1 });
    expect(await ledger.begin({ ...claim('b'), position: 10_000 })).toMatchObject({ answer: 'wait' });
  });
});
