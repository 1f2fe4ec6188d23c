import { SteppingError } from '@stepping/core';
import { closeConnection, isDefiniteRefusal } from '@stepping/typeorm';
import type { DataSource, QueryRunner } from 'typeorm';

/** How much later than the server we give up a statement ourselves: it, or the way to it, is dead then. Unit: ms. */
const ANSWER_GRACE_MS = 5_000;

/** Waits for an answer of the server, as long as the work that it belongs to may take. */
export type Answered = <A>(answer: Promise<A>) => Promise<A>;

/**
 * One connection of our own for one kind of work, which it does one after another. Opened when it is first needed, and anew after a loss. `Client` is the driver's
 * connection, `Send` how work talks to it.
 */
export abstract class Lane<Client, Send> {
  readonly #dataSource: DataSource;
  readonly #statementTimeoutMs: number;
  #runner: QueryRunner | undefined;
  #connecting: Promise<Client> | undefined;
  #tail: Promise<unknown> = Promise.resolve();
  #pending = 0;
  #closed = false;

  constructor(dataSource: DataSource, statementTimeoutMs: number) {
    this.#dataSource = dataSource;
    this.#statementTimeoutMs = statementTimeoutMs;
  }

  /** Settings of a connection that was opened just now. */
  protected abstract setUp(client: Client): Promise<unknown>;
  protected abstract sender(client: Client, answered: Answered): Send;
  /** Whether the driver knows that the connection has ended. */
  protected abstract isLost(client: Client): boolean;

  /** How much work it has, including what is running. */
  get pending(): number {
    return this.#pending;
  }

  /**
   * Runs `work` when the connection is free. With `withinMs`, the wait for that and for all answers is bounded by it. Rejects with `STORE_UNAVAILABLE` when nothing was
   * sent; after any error but a refusal of the server the connection is given up.
   */
  async run<R>(work: (send: Send) => Promise<R>, withinMs?: number): Promise<R> {
    const deadline = withinMs === undefined ? undefined : performance.now() + withinMs;
    const before = this.#tail;
    const { promise: mine, resolve: leave } = Promise.withResolvers<void>();
    this.#tail = mine;
    this.#pending++;
    const leaveInOrder = () => {
      this.#pending--;
      void before.then(() => leave());
    };
    try {
      await inTime(before, deadline);
      const client = await inTime(this.#connect(), deadline);
      const answerMs = deadline === undefined ? this.#statementTimeoutMs + ANSWER_GRACE_MS : undefined;
      return await work(this.sender(client, (answer) => this.#answered(answer, answerMs ?? remaining(deadline))));
    } finally {
      leaveInOrder();
    }
  }

  /** For good. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#giveUp(undefined);
  }

  async #connect(): Promise<Client> {
    if (this.#runner !== undefined && !this.#runner.isReleased) {
      const client: Client = await this.#runner.connect();
      if (!this.isLost(client)) return client;
      await this.#giveUp(undefined);
    }
    // Who came before may have stopped waiting for it.
    this.#connecting ??= this.#open().finally(() => {
      this.#connecting = undefined;
    });
    return this.#connecting;
  }

  async #open(): Promise<Client> {
    const runner = this.#dataSource.createQueryRunner('master');
    try {
      const client: Client = await runner.connect();
      await this.setUp(client);
      if (this.#closed) throw new Error('The store was stopped');
      this.#runner = runner;
      return client;
    } catch (cause) {
      await closeConnection(runner, cause).catch(() => {}); // never got one
      throw new SteppingError('STORE_UNAVAILABLE', 'The database of the store cannot be reached. Nothing was written; try again.', {
        cause,
      });
    }
  }

  async #answered<A>(answer: Promise<A>, answerMs: number): Promise<A> {
    const timer = setTimeout(() => void this.#giveUp(new Error(`No answer within ${Math.round(answerMs)} ms`)), answerMs);
    try {
      return await answer;
    } catch (error) {
      if (!isDefiniteRefusal(error)) await this.#giveUp(error);
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  async #giveUp(reason: unknown): Promise<void> {
    const runner = this.#runner;
    this.#runner = undefined;
    if (runner !== undefined) await closeConnection(runner, reason);
  }
}

/** Its turn, or its connection, did not come in time. Nothing was sent. */
export class LaneBusy extends SteppingError<'STORE_UNAVAILABLE'> {
  constructor() {
    super('STORE_UNAVAILABLE', 'The connections of the store are busy. Nothing was written; try again.');
  }
}

/** The one of several lanes for the same work that has least to do. */
export function leastBusy<L extends { readonly pending: number }>(lanes: readonly L[]): L {
  return lanes.reduce((best, lane) => (lane.pending < best.pending ? lane : best));
}

function remaining(deadline: number | undefined): number {
  return deadline === undefined ? Number.POSITIVE_INFINITY : Math.max(0, deadline - performance.now());
}

async function inTime<R>(work: Promise<R>, deadline: number | undefined): Promise<R> {
  if (deadline === undefined) return work;
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new LaneBusy()), remaining(deadline));
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}
