import { randomInt } from 'node:crypto';

/** Room for 2^52 more in a JavaScript number. */
const BELOW = 2 ** 48;

/** First fencing number of a new job: random, never 0. */
export function firstLease(): number {
  return randomInt(1, BELOW - 1);
}
