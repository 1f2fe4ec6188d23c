import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

/** A callback as it came from a server. */
export interface Callback {
  readonly kind: string;
  readonly gid: string;
  readonly request: Request;
}

/** Undefined: the connection is cut. */
export type Receiver = (callback: Callback) => Promise<Response | undefined>;

/** Where DTM calls back, for many apps: each has a path of its own. */
export class Callbacks {
  readonly #receivers = new Map<string, Receiver>();
  readonly #server: Server;

  private constructor() {
    this.#server = createServer(async (request, response) => {
      const callback = await readCallback(request);
      const answer = await this.#receivers.get(new URL(callback.request.url).pathname)?.(callback);
      if (answer) response.writeHead(answer.status).end();
      else response.destroy();
    });
  }

  static async listen(): Promise<Callbacks> {
    const callbacks = new Callbacks();
    await new Promise<void>((resolve) => callbacks.#server.listen(0, '127.0.0.1', resolve));
    return callbacks;
  }

  /** The URL that leads to this receiver. */
  urlOf(receiver: Receiver): string {
    const path = `/app-${this.#receivers.size}`;
    this.#receivers.set(path, receiver);
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}${path}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

async function readCallback(request: IncomingMessage): Promise<Callback> {
  const url = new URL(request.url ?? '/', 'http://app.test');
  const { method = 'GET' } = request;
  const body = await buffer(request);
  return {
    kind: url.searchParams.get('stepping') ?? '',
    gid: url.searchParams.get('gid') ?? '',
    request: new Request(url, method === 'GET' ? { method } : { method, body: Uint8Array.from(body) }),
  };
}
