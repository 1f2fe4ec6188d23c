import { createHmac, timingSafeEqual } from 'node:crypto';

/** What a signature is of: this branch and operation of this message, and what it carries. */
export interface SignedCallback {
  readonly wireGid: string;
  readonly branchId: string;
  readonly op: string;
  /** The payload of a step's branch, the text of a question. */
  readonly text: string;
}

/** HMAC-SHA256 of callbacks. The first secret signs, all are accepted, so that a secret can be replaced while messages are under way. */
export class Signatures {
  readonly #secrets: readonly string[];

  /** Empty: whoever reaches the endpoint is believed (`insecure: true`). */
  constructor(secrets: readonly string[]) {
    this.#secrets = secrets;
  }

  sign(callback: SignedCallback): string {
    const [first] = this.#secrets;
    return first === undefined ? '' : hmac(first, callback).toString('base64url');
  }

  verifies(callback: SignedCallback, signature: string): boolean {
    if (this.#secrets.length === 0) return true;
    const given = Buffer.from(signature, 'base64url');
    // One text for one signature: base64 would be lenient.
    if (given.toString('base64url') !== signature) return false;
    let found = false;
    for (const secret of this.#secrets) {
      const own = hmac(secret, callback);
      if (own.length === given.length && timingSafeEqual(own, given)) found = true;
    }
    return found;
  }
}

function hmac(secret: string, { wireGid, branchId, op, text }: SignedCallback): Buffer {
  // As JSON, so that no two lists of parts have the same text.
  return createHmac('sha256', secret)
    .update(JSON.stringify(['stepping', 1, wireGid, branchId, op, text]))
    .digest();
}
