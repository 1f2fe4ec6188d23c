import type { Logger } from '@stepping/core';
import type { DtmServer } from './dtm-server.js';

/**
 * Before the first and each further try. The callback that found the step dead is answered first: DTM writes the whole message when it gets that answer, and on some of its stores a
 * stop that came before would be undone by it. So the last look is at a message that nobody writes any more. Unit: ms.
 */
const PAUSES_MS = [50, 500, 2_000, 5_000];
/** At the end of the process. Unit: ms. */
const LAST_WORD_MS = 200;

/**
 * Marks the messages of dead steps as failed on the server, so that it calls no more. That nothing after a dead step runs does not hang on this: whenever DTM asks for the step it is told to
 * come again, and it is stopped again.
 */
export class MessageStopper {
  readonly #server: Pick<DtmServer, 'forceStop'>;
  readonly #log: Required<Logger>;
  readonly #stopping = new Map<string, Promise<void>>();
  readonly #hurry = new AbortController();

  constructor({ server, log }: { readonly server: Pick<DtmServer, 'forceStop'>; readonly log: Required<Logger> }) {
    this.#server = server;
    this.#log = log;
  }

  /** To be called before the callback is answered. */
  stopMessage(wireGid: string): void {
    if (this.#stopping.has(wireGid)) return;
    this.#stopping.set(
      wireGid,
      this.#stop(wireGid).finally(() => this.#stopping.delete(wireGid)),
    );
  }

  /** What is under way is tried once more, at once. */
  async stop(): Promise<void> {
    this.#hurry.abort();
    await Promise.race([Promise.all(this.#stopping.values()), new Promise((resolve) => setTimeout(resolve, LAST_WORD_MS).unref())]);
  }

  async #stop(wireGid: string): Promise<void> {
    for (const pauseMs of PAUSES_MS) {
      await this.#pause(pauseMs);
      try {
        // Refused: it is stopped already, and stayed so.
        if ((await this.#server.forceStop(wireGid)) === 'refused') return;
      } catch (error) {
        this.#log.warn('DTM could not be told that a step is dead; it is told again', { wireGid, error });
      }
      if (this.#hurry.signal.aborted) return;
    }
  }

  async #pause(ms: number): Promise<void> {
    const { signal } = this.#hurry;
    if (signal.aborted) return;
    await new Promise<void>((resolve) => {
      const end = () => {
        clearTimeout(timer);
        signal.removeEventListener('abort', end);
        resolve();
      };
      const timer = setTimeout(end, ms);
      signal.addEventListener('abort', end);
    });
  }
}
