import { setTimeout as sleep } from 'node:timers/promises';
import { type Logger, newGid } from '@stepping/core';
import type { CallbackUrls } from './callback-urls.js';
import type { DtmServer } from './dtm-server.js';
import type { Messages } from './messages.js';

/** Between the attempts: an app may begin to listen only after `stepping.start()`. Unit: ms. */
const PAUSES_MS = [500, 1_000, 2_000, 3_000, 3_500];

/** Finds out whether the server reaches our callback URLs: it sends a message of one step to each and waits for it. Each one that fails is told of once. */
export class SelfTest {
  readonly #server: Pick<DtmServer, 'submit' | 'forceStop'>;
  readonly #messages: Messages;
  readonly #urls: CallbackUrls;
  readonly #log: Required<Logger>;
  readonly #stopped = new AbortController();
  #running: Promise<unknown> = Promise.resolve();

  constructor(deps: { server: Pick<DtmServer, 'submit' | 'forceStop'>; messages: Messages; urls: CallbackUrls; log: Required<Logger> }) {
    this.#server = deps.server;
    this.#messages = deps.messages;
    this.#urls = deps.urls;
    this.#log = deps.log;
  }

  /** In the background, for about ten seconds. Never rejects. */
  start(queues: readonly string[]): void {
    const byUrl = new Map(queues.map((queue) => [this.#urls.shown(queue), queue]));
    this.#running = Promise.all([...byUrl].map(([url, queue]) => this.#test(url, queue).catch(() => {})));
  }

  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#running;
  }

  async #test(url: string, queue: string): Promise<void> {
    const gid = newGid();
    let problem: string | undefined;
    for (const pauseMs of PAUSES_MS) {
      // Rejects when it is stopped.
      await sleep(pauseMs, undefined, { signal: this.#stopped.signal, ref: false }).catch(() => {});
      if (this.#stopped.signal.aborted) break;
      // The very same message each time: DTM runs its step anew, and says what came of it.
      problem = await this.#problem(gid, queue);
      if (problem === undefined) return;
    }
    // Else DTM would go on trying, for ever.
    await this.#server.forceStop(gid).catch(() => {});
    if (this.#stopped.signal.aborted) return;
    this.#log.warn(
      `The DTM server cannot call back ${url}: no step will run until it can. Let callbackUrl of dtm be a URL that the server reaches and that leads to stepping.handle`,
      { callbackUrl: url, reason: problem },
    );
  }

  async #problem(gid: string, queue: string): Promise<string | undefined> {
    try {
      const answer = await this.#server.submit(this.#messages.ofSelfTest(gid, queue));
      return answer === 'done' ? undefined : 'it answered 409 or 425, as the endpoint does not for a self-test';
    } catch (error) {
      return error instanceof Error ? error.message : String(error);
    }
  }
}
