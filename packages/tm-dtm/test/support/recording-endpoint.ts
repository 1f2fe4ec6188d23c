import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';

/** A request as it came in. */
export interface Received {
  /** Unit: ms, monotonic. */
  readonly at: number;
  readonly method: string;
  readonly path: string;
  readonly query: Readonly<Record<string, string>>;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
}

/** A status, or more. `afterMs`: so long after the request; `after`: not before this. */
export type Answer =
  | number
  | { readonly status: number; readonly body?: string; readonly afterMs?: number; readonly after?: Promise<unknown> };

/** Writes down what DTM sends and answers as it was told. */
export class RecordingEndpoint {
  readonly received: Received[] = [];
  readonly #server: Server;
  readonly #answers = new Map<string, Answer[]>();
  readonly #watchers = new Set<() => void>();

  private constructor() {
    this.#server = createServer(async (request, response) => {
      const { pathname, searchParams } = new URL(request.url ?? '/', 'http://endpoint');
      const body = await text(request);
      this.received.push({
        at: performance.now(),
        method: request.method ?? '',
        path: pathname,
        query: Object.fromEntries(searchParams),
        headers: request.headers,
        body,
      });
      for (const watcher of this.#watchers) watcher();
      const answers = this.#answers.get(pathname) ?? [200];
      const next = (answers.length > 1 ? answers.shift() : answers[0]) as Answer;
      const answer = typeof next === 'number' ? { status: next } : next;
      await answer.after;
      setTimeout(() => response.writeHead(answer.status).end(answer.body), answer.afterMs ?? 0);
    });
  }

  static async listen(): Promise<RecordingEndpoint> {
    const endpoint = new RecordingEndpoint();
    await new Promise<void>((resolve) => endpoint.#server.listen(0, '127.0.0.1', resolve));
    return endpoint;
  }

  /** The URL of a path that answers like this, one after the other; the last one stays. Default 200. */
  url(path: string, ...answers: Answer[]): string {
    if (answers.length > 0) this.#answers.set(path, answers);
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}${path}`;
  }

  /** What came to this path, so far. */
  at(path: string): Received[] {
    return this.received.filter((one) => one.path === path);
  }

  /** Waits for so many requests to this path. */
  async until(path: string, count: number): Promise<Received[]> {
    while (this.at(path).length < count) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#watchers.add(resolve);
      await promise;
      this.#watchers.delete(resolve);
    }
    return this.at(path);
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

/** Time between two requests. Unit: ms. */
export function gap(requests: readonly Received[], first: number): number {
  return (requests[first + 1] as Received).at - (requests[first] as Received).at;
}
