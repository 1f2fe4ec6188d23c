import { type DbRef, type NewJob, SteppingError } from '@stepping/core';
import type { CallbackUrls } from './callback-urls.js';
import type { DtmBranch, DtmMessage, DtmTransaction } from './dtm-server.js';
import { readQuestion, readStepMessage } from './read-message.js';
import type { Signatures } from './signatures.js';
import type { Question, StepMessage } from './step-message.js';
import { wireGid } from './wire-gid.js';

/** DTM's boltdb finds steps by a number of three digits: with more of them it would go on in another order after the first pass. */
const MAX_STEPS = 1_000;

/** What is the same in every message of an app. Times as DTM takes them. Unit: s. */
export interface MessageOptions {
  readonly timeout_to_fail: number;
  readonly retry_interval: number;
  readonly request_timeout: number;
  readonly wait_result?: true;
}

/** Writes jobs as messages, signed, and reads them back. What was not signed by one of our secrets is not read: anybody who reaches the server can write to it. */
export class Messages {
  readonly #urls: CallbackUrls;
  readonly #signatures: Signatures;
  readonly #options: MessageOptions;

  constructor(urls: CallbackUrls, signatures: Signatures, options: MessageOptions) {
    this.#urls = urls;
    this.#signatures = signatures;
    this.#options = options;
  }

  /**
   * `isHere`: whether a step is implemented in this process. The databases of others are not known here, so they choose one for their steps themselves.
   *
   * @throws {@link SteppingError} `JOB_TOO_LARGE` if its names make a URL that DTM cannot store, or it has more steps than DTM keeps in order.
   */
  ofJob(job: NewJob, ledger: DbRef | undefined, isHere: (step: string) => boolean = () => true): DtmMessage {
    const { gid, instance, tenant, db, steps } = job;
    if (steps.length > MAX_STEPS) throw tooManySteps(gid, steps.length);
    const stepMessages = steps.map(
      ({ name, queue, args }, position): StepMessage => ({
        v: 1,
        gid,
        instance,
        position,
        of: steps.length,
        generation: 0,
        step: name,
        queue,
        ...(args === undefined ? {} : { args }),
        ...(tenant === undefined ? {} : { tenant }),
        ...(ledger === undefined || !isHere(name) ? {} : { ledger }),
      }),
    );
    const question: Question = {
      v: 1,
      gid,
      instance,
      ...(tenant === undefined ? {} : { tenant }),
      ...(db === undefined ? {} : { db }),
      at: Date.now(),
    };
    return this.#message(wireGid(gid), stepMessages, question);
  }

  /** The steps that are left, as the next generation. `token`: of this call. */
  ofRedrive(left: readonly StepMessage[], question: Question, generation: number, token: string): DtmMessage {
    const { db: _committed, ...asked } = question;
    return this.#message(
      wireGid(question.gid, generation),
      left.map((step) => ({ ...step, generation })),
      { ...asked, redrive: token, at: Date.now() },
    );
  }

  /** The very message that was prepared, from what the server stored of it. */
  ofStored({ gid, query_prepared = '' }: DtmTransaction, branches: readonly DtmBranch[]): DtmMessage {
    return {
      gid,
      trans_type: 'msg',
      steps: branches.map(({ url = '' }) => ({ action: url })),
      payloads: branches.map(({ payload }) => payload),
      query_prepared,
      ...this.#options,
    };
  }

  /** A message of one step that does nothing, to be submitted without a prepare. */
  ofSelfTest(gid: string, queue: string): DtmMessage {
    const text = JSON.stringify({ v: 1, selfTest: queue });
    const signature = this.#signatures.sign({ wireGid: gid, branchId: branchId(0), op: 'action', text });
    const { request_timeout, retry_interval } = this.#options;
    return {
      gid,
      trans_type: 'msg',
      steps: [{ action: this.#urls.selfTest(queue, signature) }],
      payloads: [text],
      query_prepared: '',
      wait_result: true,
      request_timeout,
      retry_interval,
    };
  }

  /** What a stored message asks in its query-back; undefined: it is not ours. */
  questionOf({ gid, query_prepared }: Pick<DtmTransaction, 'gid' | 'query_prepared'>): Question | undefined {
    const parameters = URL.parse(query_prepared ?? '')?.searchParams;
    const text = parameters?.get('q');
    if (parameters === undefined || text === null || text === undefined) return undefined;
    const signed = { wireGid: gid, branchId: '00', op: 'msg', text };
    if (!this.#signatures.verifies(signed, parameters.get('s') ?? '')) return undefined;
    return readOrNone(() => readQuestion(text));
  }

  /** The step of a branch; undefined: it is not ours. */
  stepOf(gid: string, { branch_id, op, url, payload }: DtmBranch): StepMessage | undefined {
    const signature = URL.parse(url ?? '')?.searchParams.get('s') ?? '';
    if (!this.#signatures.verifies({ wireGid: gid, branchId: branch_id, op, text: payload }, signature)) return undefined;
    return readOrNone(() => readStepMessage(payload));
  }

  #message(gid: string, steps: readonly StepMessage[], question: Question): DtmMessage {
    const payloads = steps.map((step) => JSON.stringify(step));
    const signed = (index: number) => ({ wireGid: gid, branchId: branchId(index), op: 'action', text: payloads[index] as string });
    const text = Buffer.from(JSON.stringify(question)).toString('base64url');
    const signature = this.#signatures.sign({ wireGid: gid, branchId: '00', op: 'msg', text });
    return {
      gid,
      trans_type: 'msg',
      steps: steps.map(({ queue }, index) => ({ action: this.#urls.step(queue, this.#signatures.sign(signed(index))) })),
      payloads,
      query_prepared: this.#urls.question(question.db, steps[0]?.queue ?? 'default', text, signature),
      ...this.#options,
    };
  }
}

function tooManySteps(gid: string, steps: number): SteppingError<'JOB_TOO_LARGE'> {
  return new SteppingError(
    'JOB_TOO_LARGE',
    `Job ${gid} has ${steps} steps, and DTM keeps at most ${MAX_STEPS} in their order. Chain jobs by ctx.createJob in a step.`,
    { gid, steps },
  );
}

/** As DTM numbers them. */
function branchId(index: number): string {
  return String(index + 1).padStart(2, '0');
}

/** Signed by us, so of our making; but maybe by a later release, or a self-test. */
function readOrNone<R>(read: () => R): R | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
