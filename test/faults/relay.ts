import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { buffer } from 'node:stream/consumers';

interface Answer {
  readonly status: number;
  readonly body: Buffer;
}

/** One address for several HTTP servers, as a load balancer has it: requests go to them in turn, and on to the next one when a connection breaks. */
export class Relay {
  /** Origins of those that it knows at the moment. */
  targets: readonly string[] = [];
  /** Hands each request to all of them at the same time, and back the answer of whoever did it. */
  race = false;
  /** Is told of each request, and of each answer. */
  tell: () => void = () => {};
  readonly #server = createServer((request, response) => void this.#pass(request, response));
  #turn = 0;

  static async listen(): Promise<Relay> {
    const relay = new Relay();
    relay.#server.unref().listen(0, '127.0.0.1');
    await once(relay.#server, 'listening');
    return relay;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.close();
    this.#server.closeAllConnections();
    await once(this.#server, 'close');
  }

  async #pass(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const gone = new AbortController();
    response.once('close', () => gone.abort());
    try {
      const body = await buffer(request);
      this.tell();
      const send = (target: string) => forward(target, request, body, gone.signal);
      const { status, body: answer } = await (this.race ? this.#first(send) : this.#next(send));
      this.tell();
      response.writeHead(status, { 'content-type': 'application/json' }).end(answer);
    } catch {
      // Whoever asked has hung up.
      response.destroy();
    }
  }

  async #next(send: (target: string) => Promise<Answer>): Promise<Answer> {
    const { targets } = this;
    const first = this.#turn++;
    for (let i = 0; i < targets.length; i++) {
      const answer = await send(targets[(first + i) % targets.length] as string).catch(() => undefined);
      if (answer) return answer;
    }
    return { status: 502, body: Buffer.of() };
  }

  async #first(send: (target: string) => Promise<Answer>): Promise<Answer> {
    const answers = await Promise.all(this.targets.map(send));
    return answers.find(({ status }) => status === 200) ?? (answers[0] as Answer);
  }
}

async function forward(target: string, { url = '/', method = 'GET' }: IncomingMessage, body: Buffer, signal: AbortSignal): Promise<Answer> {
  const response = await fetch(`${target}${url}`, { method, signal, ...(method === 'GET' ? {} : { body: Uint8Array.from(body) }) });
  return { status: response.status, body: Buffer.from(await response.arrayBuffer()) };
}
