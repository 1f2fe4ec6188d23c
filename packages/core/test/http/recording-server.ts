import { createServer, type IncomingHttpHeaders, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A request as it arrived. */
export interface Received {
  method: string;
  url: string;
  headers: IncomingHttpHeaders;
  body: Buffer;
}

/** A real server on loopback that writes down what it receives and answers what the test says. */
export class RecordingServer {
  readonly received: Received[] = [];
  /** How the next requests are answered. Default: 200 without a body. */
  answer: (request: Received, response: ServerResponse) => void = (_, response) => response.end();
  readonly #server: Server = createServer((request, response) => void this.#receive(request, response));

  static async listen(): Promise<RecordingServer> {
    const server = new RecordingServer();
    await new Promise<void>((resolve) => server.#server.listen(0, '127.0.0.1', resolve));
    return server;
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** The one request received. */
  get only(): Received {
    expect(this.received).toHaveLength(1);
    return this.received[0] as Received;
  }

  answers(status: number, headers: Record<string, string> = {}, body: string | Buffer = ''): void {
    this.answer = (_, response) => response.writeHead(status, headers).end(body);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #receive(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const received = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body: Buffer.concat(chunks) };
    this.received.push(received);
    this.answer(received, response);
  }
}
