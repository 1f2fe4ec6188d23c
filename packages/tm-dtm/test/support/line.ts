import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/**
 * What happens to one request: its `request` gets lost, or only its `answer`, after the server has taken it; or it is `late`: nobody hears of it, and the server gets it when
 * {@link Line.deliver} says so. A function answers in the server's place.
 */
export type Fault = 'request' | 'answer' | 'late' | ((response: ServerResponse) => void);

/** The way between an app and its DTM server. */
export class Line {
  readonly #serverUrl: string;
  readonly #server: Server;
  readonly #once: { verb: string; fault: Fault }[] = [];
  readonly #always = new Map<string, Fault>();
  #late: (() => Promise<unknown>)[] = [];
  readonly #held = new Map<string, Promise<void>>();
  #port = 0;
  /** What was sent, as `verb`, in order. */
  readonly sent: string[] = [];
  /** What the server got. */
  readonly arrived: string[] = [];

  private constructor(serverUrl: string) {
    this.#serverUrl = serverUrl;
    this.#server = createServer((request, response) => {
      this.#pass(request, response).catch(() => response.destroy());
    });
  }

  static async to(serverUrl: string): Promise<Line> {
    const line = new Line(serverUrl);
    lines.push(line);
    await line.open();
    return line;
  }

  get url(): string {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Of the next request of this verb. */
  once(verb: string, fault: Fault): void {
    this.#once.push({ verb, fault });
  }

  /** Of all requests of this verb, until {@link heal}. */
  always(verb: string, fault: Fault): void {
    this.#always.set(verb, fault);
  }

  /** Requests of this verb wait until what is returned is called. */
  hold(verb: string): () => void {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#held.set(verb, promise);
    return resolve;
  }

  heal(): void {
    this.#always.clear();
  }

  /** The server gets what was late. */
  async deliver(): Promise<void> {
    const late = this.#late;
    this.#late = [];
    for (const forward of late) await forward();
  }

  /** Connections are refused until {@link open}. */
  async cut(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise((resolve) => this.#server.close(resolve));
    this.#server.closeAllConnections();
    await closed;
  }

  async open(): Promise<void> {
    await new Promise<void>((resolve) => this.#server.listen(this.#port, '127.0.0.1', resolve));
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  async #pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const path = request.url ?? '/';
    const verb = /\/dtmsvr\/(\w+)/.exec(path)?.[1] ?? path;
    const body = await textOf(request);
    this.sent.push(verb);
    const fault = this.#faultOf(verb);
    await this.#held.get(verb);
    const forward = async () => {
      this.arrived.push(verb);
      const init = request.method === 'POST' ? { method: 'POST', body } : {};
      return fetch(`${this.#serverUrl}${path}`, init);
    };
    if (typeof fault === 'function') return fault(response);
    if (fault === 'late') this.#late.push(forward);
    if (fault === 'answer') await forward();
    if (fault !== undefined) {
      response.destroy();
      return;
    }
    const answer = await forward();
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? '' });
    response.end(await answer.text());
  }

  #faultOf(verb: string): Fault | undefined {
    const index = this.#once.findIndex((one) => one.verb === verb);
    return index < 0 ? this.#always.get(verb) : this.#once.splice(index, 1)[0]?.fault;
  }
}

const lines: Line[] = [];

/** To be called after each test. */
export async function cutLines(): Promise<void> {
  await Promise.all(lines.splice(0).map((line) => line.cut()));
}

async function textOf(request: IncomingMessage): Promise<string> {
  let text = '';
  request.setEncoding('utf8');
  for await (const chunk of request) text += chunk;
  return text;
}
