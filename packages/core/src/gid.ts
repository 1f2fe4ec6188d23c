import { createHash, randomFillSync } from 'node:crypto';
import { SteppingError } from './stepping-error.js';

const GID = /^[A-Za-z0-9_-]{1,128}$/;

/** @throws {@link SteppingError} `GID_INVALID` */
export function assertGid(gid: unknown): asserts gid is string {
  if (typeof gid === 'string' && GID.test(gid)) return;
  throw new SteppingError(
    'GID_INVALID',
    typeof gid === 'string'
      ? `The gid ${JSON.stringify(gid.slice(0, 200))} is not 1 to 128 of A-Z a-z 0-9 _ -. gidFrom(${JSON.stringify(gid.slice(0, 60))}) makes one of any text.`
      : `A gid is a text, not of type ${typeof gid}. gidFrom(String(…)) makes one of anything that has a text.`,
    { gid },
  );
}

/**
 * Makes a gid of any text: a message id, an order number. The same parts always give the same gid, of fixed length.
 *
 * @example createJob({ gid: gidFrom('payment', message.id) })
 */
export function gidFrom(...parts: readonly [string, ...string[]]): string {
  const hex = createHash('sha256').update(JSON.stringify(parts)).digest('hex');
  // The form of a UUIDv8, "vendor-specific" (RFC 9562 §5.8): tells such gids from generated ones.
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

/** The idempotency key of a step: gid and position, three digits at least. Data at rest, the same under every TM. */
export function idempotencyKey(gid: string, stepIndex: number): string {
  return `${gid}/${String(stepIndex).padStart(3, '0')}`;
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const random = Buffer.alloc(8 * 1_024);
let used = random.length;
let lastMs = 0;
let sequence = 0;

/** A UUIDv7 (RFC 9562 §5.7): sorts by creation, also within one millisecond of one process, so that primary keys go to one end of the index. */
export function newGid(): string {
  if (used + 8 > random.length) {
    randomFillSync(random);
    used = 0;
  }
  const now = Date.now();
  if (now > lastMs) {
    lastMs = now;
    sequence = 0;
  } else if (++sequence > 0xfff) {
    lastMs++;
    sequence = 0;
  }
  const time = lastMs.toString(16).padStart(12, '0');
  const byte = (i: number) => random[used + i] as number;
  const tail = `${HEX[(byte(0) & 0x3f) | 0x80]}${HEX[byte(1)]}-${HEX[byte(2)]}${HEX[byte(3)]}${HEX[byte(4)]}${HEX[byte(5)]}${HEX[byte(6)]}${HEX[byte(7)]}`;
  used += 8;
  return `${time.slice(0, 8)}-${time.slice(8)}-7${sequence.toString(16).padStart(3, '0')}-${tail}`;
}
