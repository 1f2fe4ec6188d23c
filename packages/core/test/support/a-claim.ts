import type { Claim } from '../../src/index.js';

/** A claim that nobody takes over. */
export const aClaim = (more: Partial<Claim> = {}): Claim => ({
  instance: 'instance',
  isOld: () => false,
  isStillOurs: async () => true,
  uses() {},
  ...more,
});
