import { describe, expect, it } from '@jest/globals';
import { Signatures } from './signatures.js';

const callback = { wireGid: '0191f3c2-7d1e-7aa0-9c55-5f0b8c1d2e3f', branchId: '01', op: 'action', text: '{"a":1}' };

describe('Signatures', () => {
  it('are made by the first secret, and every one is accepted', () => {
    const [old, now] = [new Signatures(['old']), new Signatures(['new', 'old'])];
    expect(now.sign(callback)).toBe(new Signatures(['new']).sign(callback));
    expect([now.verifies(callback, old.sign(callback)), old.verifies(callback, now.sign(callback))]).toEqual([true, false]);
  });

  it.each(['wireGid', 'branchId', 'op', 'text'] as const)('are of %s, too', (part) => {
    const signatures = new Signatures(['secret']);
    expect(signatures.verifies({ ...callback, [part]: `${callback[part]}0` }, signatures.sign(callback))).toBe(false);
  });

  it('know one part from the next', () => {
    const signatures = new Signatures(['secret']);
    const shifted = { ...callback, branchId: '0', op: '1action' };
    expect(signatures.sign(shifted)).not.toBe(signatures.sign(callback));
  });

  it('are one text each, as other spellings of the same bytes are refused', () => {
    const signatures = new Signatures(['secret']);
    const signature = signatures.sign(callback);
    const bytes = Buffer.from(signature, 'base64url');
    for (const other of [`${signature}=`, `${signature}\n`, bytes.toString('hex'), signature.slice(0, -1), '', ' ', 'ä']) {
      expect(signatures.verifies(callback, other)).toBe(false);
    }
    expect(signatures.verifies(callback, signature)).toBe(true);
  });

  it('are believed whatever they are, and empty, where there is no secret', () => {
    const insecure = new Signatures([]);
    expect([insecure.sign(callback), insecure.verifies(callback, ''), insecure.verifies(callback, 'x')]).toEqual(['', true, true]);
  });

  it('stay what they are, since they lie on servers for as long as a message does', () => {
    expect(new Signatures(['secret']).sign(callback)).toBe('LpObfFrJzvhrXcp5_fx6lJw8W1bV7sK1IQFD5ceN56E');
  });
});
