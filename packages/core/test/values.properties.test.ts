import { afterEach, describe, expect, it, jest } from '@jest/globals';
import fc from 'fast-check';
import { property } from '../../../test/properties.js';
import { assertGid, gidFrom, newGid } from '../src/gid.js';
import { argsToJson } from '../src/json.js';
import { backoffMs, nextAttemptInMs } from '../src/retry.js';
import { permanent, retryAfter, SteppingError } from '../src/stepping-error.js';

const anyText = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.array(fc.integer({ min: 0, max: 0xffff })).map((units) => String.fromCharCode(...units)), // also half surrogate pairs
);

describe('gids', () => {
  afterEach(() => {
    jest.restoreAllMocks();
  });

  it('made of any text are valid, of one length, and the same only for the same parts', () => {
    const parts = fc.array(fc.oneof(anyText, fc.constantFrom('', '"', ',', '","', '\\', '\ud800', '\\ud800')), {
      minLength: 1,
      maxLength: 4,
    });
    fc.assert(
      fc.property(parts, parts, (a, b) => {
        const [gidA, gidB] = [gidFrom(...(a as [string])), gidFrom(...(b as [string]))];
        assertGid(gidA);
        expect(gidA).toHaveLength(36);
        expect(gidA === gidB).toBe(a.length === b.length && a.every((part, i) => part === b[i]));
      }),
      property(500),
    );
  });

  it('that are drawn are valid and sort by creation, whatever the clock does', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -10_000, max: 10_000 }), { minLength: 1, maxLength: 50 }), (jumps) => {
        let now = Date.now();
        const clock = jest.spyOn(Date, 'now').mockImplementation(() => now);
        const gids: string[] = [];
        for (const ms of jumps) {
          now += ms;
          // More in one millisecond than its counter holds, now and then.
          for (let i = 0; i < (ms % 7 === 0 ? 5_000 : 3); i++) gids.push(newGid());
        }
        clock.mockRestore();
        gids.forEach(assertGid);
        expect(gids).toEqual([...gids].sort());
        expect(new Set(gids).size).toBe(gids.length);
      }),
      property(8),
    );
  });
});

describe('the delay before the next attempt', () => {
  const ms = fc.oneof(fc.integer({ min: 0, max: 10_000_000 }), fc.constantFrom(0, 1, Number.MAX_SAFE_INTEGER));
  const policy = fc
    .record({ maxAttempts: fc.oneof(fc.integer({ min: 1, max: 50 }), fc.constant(Number.POSITIVE_INFINITY)), minDelayMs: ms, extraMs: ms })
    .map(({ maxAttempts, minDelayMs, extraMs }) => ({
      maxAttempts,
      minDelayMs,
      maxDelayMs: Math.min(minDelayMs + extraMs, Number.MAX_SAFE_INTEGER),
    }));
  const attempt = fc.oneof(fc.integer({ min: 1, max: 100 }), fc.constantFrom(1_023, 1_024, 1_025, 2_147_483_647));

  it('grows, from the least to the most that the policy says, with up to a tenth on top', () => {
    fc.assert(
      fc.property(policy, attempt, fc.double({ min: 0, max: 1, noNaN: true }), (policy, attempt, random) => {
        const delayMs = backoffMs(policy, attempt, () => random);
        expect(delayMs).toBeGreaterThanOrEqual(policy.minDelayMs);
        expect(delayMs).toBeLessThanOrEqual(Math.round(policy.maxDelayMs * 1.1));
        expect(backoffMs(policy, attempt + 1, () => 0)).toBeGreaterThanOrEqual(backoffMs(policy, attempt, () => 0));
      }),
      property(500),
    );
  });

  it('is one that a database and a date can hold, whatever the step threw, or there is none when attempts are used up', () => {
    const thrown = fc.oneof(fc.anything(), fc.double().map(retryAfter), fc.string().map(permanent), ms.map(retryAfter));
    fc.assert(
      fc.property(policy, attempt, thrown, (policy, attempt, error) => {
        const delayMs = nextAttemptInMs(policy, attempt, error);
        if (delayMs === undefined) {
          expect(attempt >= policy.maxAttempts || SteppingError.is(error, 'STEP_PERMANENT')).toBe(true);
          return;
        }
        expect(attempt).toBeLessThan(policy.maxAttempts);
        expect(delayMs).toBeGreaterThanOrEqual(0);
        expect(new Date(Date.now() + delayMs).getTime()).not.toBeNaN();
      }),
      property(500),
    );
  });
});

describe('args', () => {
  it('are the same value when they are read again, or are refused with the path to what JSON would change', () => {
    const anything = fc.anything({
      withBigInt: true,
      withBoxedValues: true,
      withDate: true,
      withMap: true,
      withSet: true,
      withNullPrototype: true,
      withSparseArray: true,
      withTypedArray: true,
      withUnicodeString: true,
      key: anyText,
    });
    fc.assert(
      fc.property(fc.oneof(anything, fc.jsonValue({ stringUnit: 'binary' })), (args) => {
        let text: string | undefined;
        try {
          text = argsToJson(args, 'order.send');
        } catch (error) {
          expect(error).toMatchObject({ code: 'ARGS_NOT_JSON' });
          expect(() => expect(JSON.parse(JSON.stringify(args) ?? 'null')).toStrictEqual(args)).toThrow();
          return;
        }
        // -0 becomes 0, which is equal to it.
        expect(plain(text === undefined ? undefined : JSON.parse(text))).toEqual(plain(args));
      }),
      property(400),
    );
  });

  it('that are nested without end, or nearly, are refused too', () => {
    const circle: Record<string, unknown> = {};
    circle.again = { circle };
    expect(() => argsToJson(circle, 'order.send')).toThrow(expect.objectContaining({ code: 'ARGS_NOT_JSON' }));
    let deep: unknown = [];
    for (let depth = 0; depth < 20_000; depth++) deep = [deep];
    expect(() => argsToJson(deep, 'order.send')).toThrow(expect.objectContaining({ code: 'ARGS_NOT_JSON' }));
  });
});

/** Without what no reader can tell apart: the sign of zero, and the prototype of a plain object. */
function plain(value: unknown): unknown {
  if (value === 0) return 0;
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(plain);
  return Object.fromEntries(Object.entries(value).map(([key, part]) => [key, plain(part)]));
}
