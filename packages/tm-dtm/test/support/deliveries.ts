import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';
import type { Stepping } from '@stepping/core';

/** A callback as it came from DTM. */
export interface Delivered {
  readonly method: string;
  readonly url: URL;
  readonly headers: IncomingHttpHeaders;
  readonly body: string;
  /** `step` or `question`. */
  readonly kind: string | null;
  /** From 0. */
  readonly position: number;
}

/** Between DTM and the replicas of an app: callbacks come to whom, how often and when the test says. */
export class Deliveries {
  /** In the order in which they came. */
  readonly received: Delivered[] = [];
  replicas: readonly Pick<Stepping, 'handle'>[] = [];
  /** What becomes of a callback: the status that DTM gets, or `lost`. Default: to the first replica. */
  how: (callback: Delivered) => Promise<number | 'lost'> = (callback) => this.to(0, callback);
  readonly #server: Server;

  private constructor() {
    this.#server = createServer(async (request, response) => {
      const url = new URL(request.url ?? '/', 'http://app.test');
      const { method = '', headers } = request;
      const body = (await buffer(request)).toString();
      const kind = url.searchParams.get('stepping');
      const callback = { method, url, headers, body, kind, position: Number(url.searchParams.get('branch_id')) - 1 };
      this.received.push(callback);
      const status = await this.how(callback);
      if (status === 'lost') response.destroy();
      else response.writeHead(status).end();
    });
  }

  static async listen(): Promise<Deliveries> {
    const deliveries = new Deliveries();
    await new Promise<void>((resolve) => deliveries.#server.listen(0, '127.0.0.1', resolve));
    return deliveries;
  }

  get callbackUrl(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}/stepping`;
  }

  /** Hands the callback to a replica. */
  async to(replica: number, { method, url, body }: Delivered): Promise<number> {
    const request = new Request(url, method === 'GET' ? { method } : { method, body });
    const response = await (this.replicas[replica] as Stepping).handle(request);
    expect(response.body).toBeNull();
    return response.status;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}
