import type { DtmMessage } from './dtm-server.js';

/** A message that this process prepared, and whose acknowledgement it has. */
export interface RememberedMessage {
  readonly message: DtmMessage;
  readonly instance: string;
  /** How long ago its prepare was sent. Unit: ms. */
  readonly ageMs: number;
}

/** Of a message that was forgotten the server is asked. In characters of payloads. */
const MAX_CHARS = 16 * 1_024 * 1_024;

interface Entry {
  readonly message: DtmMessage;
  readonly instance: string;
  readonly chars: number;
  readonly since: () => number;
}

/** Messages between prepare and submit, so that most submits need not ask for what they submit. */
export class RememberedMessages {
  readonly #entries = new Map<string, Entry>();
  #chars = 0;

  /** `since`: how long ago its prepare was sent. */
  add(gid: string, instance: string, message: DtmMessage, since: () => number): void {
    this.#forget(gid);
    const chars = message.payloads.reduce((sum, payload) => sum + payload.length, 0);
    this.#entries.set(gid, { message, instance, chars, since });
    this.#chars += chars;
    for (const oldest of this.#entries.keys()) {
      if (this.#chars <= MAX_CHARS) break;
      this.#forget(oldest);
    }
  }

  /** Hands it out, once. */
  take(gid: string, instance: string): RememberedMessage | undefined {
    const entry = this.#entries.get(gid);
    if (entry?.instance !== instance) return undefined;
    this.#forget(gid);
    return { message: entry.message, instance, ageMs: entry.since() };
  }

  #forget(gid: string): void {
    this.#chars -= this.#entries.get(gid)?.chars ?? 0;
    this.#entries.delete(gid);
  }
}
