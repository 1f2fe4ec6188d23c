import { setTimeout as sleep } from 'node:timers/promises';
import { type Logger, newGid } from '@stepping/core';
import type { CallbackUrls } from './callback-urls.js';
import type { DtmServer } from './dtm-server.js';
import type { Messages } from './messages.js';

/** Between the attempts: an app may begin to listen only after `stepping.start()`. Unit: ms. */
const PAUSES_MS = [500, 1_000, 2_000, 3_000, 3_500];
/** Of all attempts together; one that is not answered takes as long as the server waits for a callback. Unit: ms. */
const ENOUGH_MS = 10_000;
/** When the process stops. Unit: ms. */
const LAST_WORD_MS = 300;

/** Finds out whether the server reaches our callback URLs: it sends a message of one step to each and waits for it. Each one that fails is told of once. */
export class SelfTest {
  readonly #server: Pick<DtmServer, 'submit' | 'forceStop'>;
  readonly #messages: Messages;
  readonly #urls: CallbackUrls;
  readonly #log: Required<Logger>;
  readonly #stopped = new AbortController();
  /** Sent, and not known to be over. */
  readonly #open = new Set<string>();

  constructor(deps: { server: Pick<DtmServer, 'submit' | 'forceStop'>; messages: Messages; urls: CallbackUrls; log: Required<Logger> }) {
    this.#server = deps.server;
    this.#messages = deps.messages;
    this.#urls = deps.urls;
    this.#log = deps.log;
  }

  /** In the background, for about ten seconds. `queues`: of the steps of this process, and those by which it is asked about its databases. */
  start(queues: readonly string[]): void {
    const byUrl = new Map(queues.map((queue) => [this.#urls.selfTest(queue, ''), queue]));
    for (const queue of byUrl.values()) void this.#test(queue);
  }

  /** Leaves nothing behind that the server would try for ever. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    const ended = Promise.all([...this.#open].map((gid) => this.#end(gid)));
    await Promise.race([ended, sleep(LAST_WORD_MS, undefined, { ref: false })]);
  }

  async #test(queue: string): Promise<void> {
    const { signal } = this.#stopped;
    const gid = newGid();
    const since = performance.now();
    let problem: string | undefined;
    for (const pauseMs of PAUSES_MS) {
      await sleep(pauseMs, undefined, { signal, ref: false }).catch(() => {});
      if (signal.aborted) return;
      // The very same message each time: DTM runs its step anew, and says what came of it.
      problem = await this.#problem(gid, queue);
      if (signal.aborted || problem === undefined) return;
      if (performance.now() - since > ENOUGH_MS) break;
    }
    await this.#end(gid);
    const url = this.#urls.shown(queue);
    this.#log.warn(
      `The DTM server cannot call back ${url}, so no step that is called there will run, and nobody will say what became of transactions: ${problem}. Let callbackUrl of dtm be a URL that the server reaches, and mount nodeHandler(stepping) there.`,
      { callbackUrl: url, reason: problem },
    );
  }

  async #problem(gid: string, queue: string): Promise<string | undefined> {
    this.#open.add(gid);
    try {
      if ((await this.#server.submit(this.#messages.ofSelfTest(gid, queue))) === 'refused') return 'it was answered with 409 or 425';
      this.#open.delete(gid);
      return undefined;
    } catch (error) {
      return reasonOf(error instanceof Error ? error.message : String(error));
    }
  }

  async #end(gid: string): Promise<void> {
    await this.#server.forceStop(gid).catch(() => {});
    this.#open.delete(gid);
  }
}

/** What the server says of a callback is behind a hint of its own. Where nothing is, the answer was not 200 and had no body. */
function reasonOf(message: string): string {
  const [, said] = /will be retried:\s*(.*)$/s.exec(message) ?? [];
  if (said === '')
    return 'it was answered with a status other than 200 and nothing else, as by this endpoint of an app with another secret';
  return said ?? message;
}
