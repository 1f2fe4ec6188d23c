import { assertGid, gidFrom, idempotencyKey, newGid } from './gid.js';

describe('gids', () => {
  it('that are generated are UUIDv7, and sort by creation also within a millisecond', () => {
    const gids = Array.from({ length: 10_000 }, newGid);
    expect(gids[0]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(gids.every((gid, index) => index === 0 || (gids[index - 1] ?? '') < gid)).toBe(true);
    for (const gid of gids.slice(0, 10)) expect(() => assertGid(gid)).not.toThrow();
  });

  it('made of any text are always the same, of fixed length, and valid', () => {
    expect(gidFrom('payment', '7')).toBe(gidFrom('payment', '7'));
    for (const text of ['', 'ä/ ', 'x'.repeat(10_000)]) {
      expect(gidFrom(text)).toHaveLength(36);
      expect(() => assertGid(gidFrom(text))).not.toThrow();
    }
  });

  it('made of other parts are others, also when the parts join to the same text', () => {
    expect(new Set([gidFrom('ab', 'c'), gidFrom('a', 'bc'), gidFrom('abc'), gidFrom('abc', '')]).size).toBe(4);
  });

  // Data at rest: stored jobs are known by it to those who must not do a thing twice.
  it('stay what they were in every earlier release', () => {
    expect(gidFrom('payment', '7')).toBe('c9588406-dfd3-8f56-a447-f4e26d1a002d');
    expect([idempotencyKey('g', 0), idempotencyKey('g', 12), idempotencyKey('g', 1_234)]).toEqual(['g/000', 'g/012', 'g/1234']);
  });
});
