import type { DbProviders, EventEmitter, Logger, Steps } from '@stepping/core';
import { DONE, FORGED, LATER } from './answer.js';
import { type Callback, readCallback } from './callback.js';
import type { DtmServer } from './dtm-server.js';
import { stopwatch } from './elapsed.js';
import { MessageStopper } from './message-stopper.js';
import { QuestionCallbacks } from './question-callback.js';
import { readQuestion, readStepMessage } from './read-message.js';
import type { Signatures } from './signatures.js';
import { StepCallbacks } from './step-callback.js';

/** For how long a silent process keeps a step from others. Unit: ms. */
const LEASE_MS = 10_000;
/** Callbacks that were refused are told of together, not one by one: whoever sends them would fill the log. Unit: ms. */
const REFUSALS_EVERY_MS = 60_000;
/** The part of DTM's patience that is left for the way there and back. */
const ON_THE_WAY = 0.1;

/** What the endpoint needs of the app around it. */
export interface CallbackEndpointDeps {
  /** For dead steps: the message is stopped on the server, too. */
  readonly server: Pick<DtmServer, 'forceStop'>;
  readonly signatures: Signatures;
  readonly steps: Steps;
  readonly databases: DbProviders;
  readonly events: EventEmitter;
  readonly log: Required<Logger>;
  /** DTM's interval between two callbacks of a step that is not done, as it is on the wire: whole seconds. Unit: ms. */
  readonly retryIntervalMs: number;
  /** For how long DTM waits for the answer to a callback, as it is on the wire. A step that takes longer runs on. Unit: ms. */
  readonly requestTimeoutMs: number;
  /** For how long a silent process keeps a step from others. Default 10 000. Unit: ms. */
  readonly leaseMs?: number;
}

/**
 * Where DTM calls back: `?stepping=step` runs a step, `?stepping=question` says what became of a business transaction, `?stepping=self-test` only answers. Nothing runs without the
 * signature that was made when the message was. Answers have no body, as DTM looks for words in it.
 */
export class CallbackEndpoint {
  readonly #signatures: Signatures;
  readonly #steps: StepCallbacks;
  readonly #questions: QuestionCallbacks;
  readonly #stopper: MessageStopper;
  readonly #log: Required<Logger>;
  #refused = 0;
  #refusalsToldAt = Number.NEGATIVE_INFINITY;

  constructor(deps: CallbackEndpointDeps) {
    const { server, signatures, log, leaseMs = LEASE_MS } = deps;
    const patienceMs = deps.requestTimeoutMs * (1 - ON_THE_WAY);
    this.#signatures = signatures;
    this.#log = log;
    this.#stopper = new MessageStopper({ server, log });
    this.#steps = new StepCallbacks({ ...deps, stopper: this.#stopper, patienceMs, leaseMs });
    this.#questions = new QuestionCallbacks({ ...deps, patienceMs });
  }

  /** Never rejects. */
  async handle(request: Request): Promise<Response> {
    try {
      return new Response(null, { status: await this.#answer(request) });
    } catch (error) {
      this.#log.error('a callback could not be read or answered; it will come again', { path: pathOf(request), error });
      return new Response(null, { status: LATER });
    }
  }

  /** Begins no step any more; questions are still answered. */
  quiesce(): void {
    this.#steps.quiesce();
  }

  /** Waits for the steps that run, then aborts their signals; what ends by that is handed back, uncounted. Ends within `drainTimeoutMs` + 1 s. Unit: ms. */
  async stop(drainTimeoutMs: number): Promise<void> {
    await this.#steps.stop(drainTimeoutMs);
    await this.#stopper.stop();
  }

  async #answer(request: Request): Promise<number> {
    const since = stopwatch();
    const callback = await readCallback(request);
    if (typeof callback === 'number') return callback;
    if (!this.#signatures.verifies(callback, callback.signature)) {
      this.#tellRefused(request);
      return FORGED;
    }
    return this.#dispatch(callback, since);
  }

  async #dispatch({ kind, wireGid, text }: Callback, since: () => number): Promise<number> {
    switch (kind) {
      case 'self-test':
        return DONE;
      case 'question':
        return this.#questions.answer(readQuestion(text), since);
      case 'step':
        return this.#steps.answer(readStepMessage(text), wireGid, since);
    }
  }

  #tellRefused(request: Request): void {
    this.#refused++;
    const now = performance.now();
    if (now - this.#refusalsToldAt < REFUSALS_EVERY_MS) return;
    this.#log.warn(
      'callbacks without a right signature were refused: somebody else sent them, or they were signed with a secret that is no longer among those of dtm({ secret })',
      { refused: this.#refused, path: pathOf(request) },
    );
    this.#refused = 0;
    this.#refusalsToldAt = now;
  }
}

/** Without the query, which has the signature. */
function pathOf(request: Request): string {
  try {
    return new URL(request.url).pathname;
  } catch {
    return '?';
  }
}
