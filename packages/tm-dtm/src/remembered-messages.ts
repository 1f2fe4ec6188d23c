import type { DtmMessage } from './dtm-server.js';

/** Of a message that was forgotten the server is asked. In characters of payloads. */
const MAX_CHARS = 16 * 1_024 * 1_024;

interface Entry {
  readonly message: DtmMessage;
  readonly instance: string;
  readonly chars: number;
  readonly since: () => number;
}

/** Messages that this process prepared, and whose acknowledgement it has, until they are submitted: so most submits need not ask for what they submit. */
export class RememberedMessages {
  readonly #freshMs: number;
  readonly #entries = new Map<string, Entry>();
  #chars = 0;

  /**
   * `freshMs`: for so long a message is taken to be still what it was. Later the server has to be asked: the query-back may have been there, and after days the server may have forgotten the
   * message, and its gid been started anew.
   */
  constructor(freshMs: number) {
    this.#freshMs = freshMs;
  }

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

  /** Hands it out, once, if it is fresh. */
  takeFresh(gid: string, instance: string): DtmMessage | undefined {
    const entry = this.#entries.get(gid);
    if (entry?.instance !== instance) return undefined;
    this.#forget(gid);
    return entry.since() < this.#freshMs ? entry.message : undefined;
  }

  #forget(gid: string): void {
    this.#chars -= this.#entries.get(gid)?.chars ?? 0;
    this.#entries.delete(gid);
  }
}
