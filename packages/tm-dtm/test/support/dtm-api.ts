import { randomUUID } from 'node:crypto';

export interface RawAnswer {
  readonly status: number;
  readonly json: any;
}

/** A message as a client writes it that is not ours. */
export type RawMessage = Readonly<Record<string, unknown>> & { readonly gid: string };

/** DTM's HTTP API as it is on the wire, without our client. */
export class DtmApi {
  readonly #url: string;

  constructor(url: string) {
    this.#url = `${url}/api/dtmsvr`;
  }

  async get(path: string): Promise<RawAnswer> {
    const response = await fetch(`${this.#url}/${path}`);
    return { status: response.status, json: await response.json() };
  }

  async post(verb: string, body: unknown): Promise<RawAnswer> {
    const response = await fetch(`${this.#url}/${verb}`, { method: 'POST', body: JSON.stringify(body) });
    return { status: response.status, json: await response.json() };
  }

  /** The status of the message, or undefined. */
  async statusOf(gid: string): Promise<string | undefined> {
    return (await this.get(`query?gid=${gid}`)).json.transaction?.status;
  }

  async untilStatus(gid: string, status: string): Promise<void> {
    while ((await this.statusOf(gid)) !== status) await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** A message of these URLs, `{}` for each. */
export function aMessage(urls: readonly string[], more: Readonly<Record<string, unknown>> = {}): RawMessage {
  return {
    gid: randomUUID(),
    trans_type: 'msg',
    steps: urls.map((action) => ({ action })),
    payloads: urls.map((_, index) => JSON.stringify({ step: index })),
    ...more,
  };
}
