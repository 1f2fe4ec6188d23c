import { gidFrom, newGid } from '@stepping/core';
import { wireGid } from './wire-gid.js';

describe('The gid of a message', () => {
  it('is that of its job where that is a UUID in lower case, and one made of it elsewhere: always 36 characters', () => {
    const drawn = newGid();
    expect(wireGid(drawn)).toBe(drawn);
    expect(wireGid(gidFrom('order', '7'))).toBe(gidFrom('order', '7'));
    for (const gid of ['1', 'order-1', 'order-10', drawn.toUpperCase(), `${drawn}0`, drawn.slice(1), 'x'.repeat(128)]) {
      expect(wireGid(gid)).toMatch(/^[0-9a-f-]{36}$/);
      expect(wireGid(gid)).not.toBe(gid);
    }
  });

  it('is another one for each redrive', () => {
    const gids = [0, 1, 2, 12].flatMap((generation) => [wireGid('order-1', generation), wireGid('order-11', generation)]);
    expect(new Set(gids).size).toBe(8);
    expect(gids.every((gid) => gid.length === 36)).toBe(true);
  });

  // Data at rest: the server knows jobs by it.
  it('stays what it was in every earlier release', () => {
    expect([wireGid('order-1'), wireGid('order-1', 1)]).toEqual([
      '53650ab0-538f-84a5-ae87-483158079c58',
      gidFrom('dtm', 'order-1', 'redrive', '1'),
    ]);
  });
});
