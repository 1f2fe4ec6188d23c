import type { DbProviders, EventEmitter, Logger, Steps } from '@stepping/core';
import type { DtmServer } from './dtm-server.js';
import type { Signatures } from './signatures.js';

/** What the endpoint needs of the app around it. */
export interface CallbackEndpointDeps {
  /** For dead steps: the message is stopped on the server, too. */
  readonly server: Pick<DtmServer, 'forceStop' | 'query'>;
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
  /** The callback of a self-test came in, with the right signature. */
  readonly onSelfTest: (wireGid: string) => void;
}

/**
 * Where DTM calls back: `?stepping=step` runs a step, `?stepping=question` says what became of a business transaction, `?stepping=self-test` only answers. Nothing runs without the
 * signature that was made when the message was. Answers have no body, as DTM looks for words in it.
 */
export class CallbackEndpoint {
  readonly #deps: CallbackEndpointDeps;

  constructor(deps: CallbackEndpointDeps) {
    this.#deps = deps;
  }

  /** Never rejects. */
  async handle(_request: Request): Promise<Response> {
    this.#deps.log.error('callbacks are not answered yet');
    return new Response(null, { status: 503 });
  }

  /** Begins no step any more; questions are still answered. */
  quiesce(): void {}

  /** Waits for the steps that run, then aborts their signals; what ends by that is handed back, uncounted. Ends within `drainTimeoutMs` + 1 s. Unit: ms. */
  async stop(_drainTimeoutMs: number): Promise<void> {}
}
