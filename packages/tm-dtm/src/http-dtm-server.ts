import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import { SteppingError } from '@stepping/core';
import { Axios } from 'axios';
import type { DtmAnswer, DtmBranch, DtmMessage, DtmServer, DtmStatus, DtmTransaction } from './dtm-server.js';

/** What a request may take, but for one that waits for the steps. DTM answers in milliseconds; a caller's business transaction is open meanwhile. Unit: ms. */
const ANSWER_TIMEOUT_MS = 5_000;
/** A submit with `wait_result` ends when the first pass of the steps does. What takes longer goes on without its caller. Unit: ms. */
const WAIT_RESULT_TIMEOUT_MS = 60_000;
/** Connections to the server. More requests than that wait for a free one. */
const MAX_CONNECTIONS = 128;
/** Idle connections are closed before a proxy in between may do it, in the very moment that one is used. Unit: ms. */
const IDLE_CONNECTION_MS = 4_000;
/** A `/query` carries a whole job; so does, for each of its messages, a page of `/all` where they are in boltdb or Redis. Unit: bytes. */
const MAX_ANSWER_BYTES = 64 * 1_024 * 1_024;
/** What is shown of a text that somebody else wrote. Unit: characters. */
const EXCERPT_CHARS = 300;

/** The connection was not made, so nothing was sent. */
const NOT_REACHED = new Set(['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EAI_FAIL', 'EHOSTUNREACH', 'ENETUNREACH', 'EHOSTDOWN', 'ENETDOWN']);
/** Codes of OpenSSL's verdicts on certificates, and of Node's on names in them. */
const UNTRUSTED = /^(CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|ERR_TLS_CERT_|ERR_SSL_|EPROTO)/;
/** As MySQL, PostgreSQL and SQL Server say it, in DTM's words around it. */
const TOO_LARGE = /data too long|too long for type|max_allowed_packet|would be truncated|payload too large/i;

interface Exchange {
  readonly status: number;
  readonly text: string;
  /** Undefined: it is no JSON. */
  readonly json: Readonly<Record<string, unknown>> | undefined;
  readonly location: string | undefined;
}

/** DTM's HTTP API. */
export class HttpDtmServer implements DtmServer {
  readonly #base: string;
  readonly #axios: Axios;
  readonly #agents: readonly (HttpAgent | HttpsAgent)[];

  /** `serverUrl`: with or without the path of the API, which other clients of DTM want in theirs. */
  constructor(serverUrl: URL) {
    const { username, password, origin, pathname } = serverUrl;
    // Without the credentials: it is shown in errors.
    this.#base = `${origin}${pathname.replace(/\/+$/, '').replace(/\/api\/dtmsvr$/, '')}/api/dtmsvr`;
    const options = { keepAlive: true, maxSockets: MAX_CONNECTIONS, timeout: IDLE_CONNECTION_MS };
    const httpAgent = new HttpAgent(options);
    const httpsAgent = new HttpsAgent(options);
    this.#agents = [httpAgent, httpsAgent];
    // An axios of our own: what the app has set on its own one is not for this server.
    this.#axios = new Axios({
      adapter: 'http',
      httpAgent,
      httpsAgent,
      ...(username === '' ? {} : { auth: { username: decodeURIComponent(username), password: decodeURIComponent(password) } }),
      proxy: false,
      maxRedirects: 0,
      maxBodyLength: Number.POSITIVE_INFINITY,
      maxContentLength: MAX_ANSWER_BYTES,
      responseType: 'text',
      transformResponse: [],
      validateStatus: () => true,
    });
  }

  prepare(message: DtmMessage): Promise<DtmAnswer> {
    return this.#write('prepare', message);
  }

  submit(message: DtmMessage): Promise<DtmAnswer> {
    return this.#write('submit', message, message.wait_result ? WAIT_RESULT_TIMEOUT_MS : ANSWER_TIMEOUT_MS);
  }

  abort(gid: string): Promise<DtmAnswer> {
    return this.#write('abort', { gid, trans_type: 'msg' });
  }

  forceStop(gid: string): Promise<DtmAnswer> {
    return this.#write('forceStop', { gid });
  }

  async query(gid: string): ReturnType<DtmServer['query']> {
    const json = await this.#read('query', { gid });
    if (json.transaction === null || json.transaction === undefined) return undefined;
    const branches = (json.branches ?? []) as readonly (Omit<DtmBranch, 'payload'> & { readonly bin_data?: string })[];
    return {
      transaction: json.transaction as DtmTransaction,
      branches: branches.map(({ bin_data = '', ...branch }) => ({ ...branch, payload: Buffer.from(bin_data, 'base64').toString() })),
    };
  }

  async all({ status, createdAfter, limit, position }: Parameters<DtmServer['all']>[0]): ReturnType<DtmServer['all']> {
    const json = await this.#read('all', {
      transType: 'msg',
      limit: String(limit),
      ...(status === undefined ? {} : { status: status satisfies DtmStatus }),
      ...(createdAfter === undefined ? {} : { createTimeStart: String(createdAfter.getTime()) }),
      ...(position === undefined ? {} : { position }),
    });
    return {
      transactions: (json.transactions ?? []) as readonly DtmTransaction[],
      nextPosition: json.next_position === '' ? undefined : String(json.next_position),
    };
  }

  async version(): Promise<string> {
    const { version } = await this.#read('version', {});
    if (typeof version !== 'string') throw this.#noDtm('says no version');
    return version;
  }

  /** Where it is, fit to be shown. */
  get url(): string {
    return this.#base;
  }

  /** Ends idle connections. */
  close(): void {
    for (const agent of this.#agents) agent.destroy();
  }

  async #write(verb: string, body: object, timeoutMs = ANSWER_TIMEOUT_MS): Promise<DtmAnswer> {
    const answer = await this.#exchange('POST', verb, JSON.stringify(body), timeoutMs);
    if (answer.status === 200 && answer.json?.dtm_result === 'SUCCESS') return 'done';
    if (answer.status === 409 && answer.json?.dtm_result === 'FAILURE') return 'refused';
    throw this.#refusal(verb, answer);
  }

  async #read(verb: string, parameters: Readonly<Record<string, string>>): Promise<Readonly<Record<string, unknown>>> {
    // DTM's metrics count by what follows the last slash of the URL: without `of`, each gid would be a series of its own.
    const answer = await this.#exchange('GET', `${verb}?${new URLSearchParams(parameters)}&of=/${verb}`, undefined, ANSWER_TIMEOUT_MS);
    if (answer.status === 200 && answer.json !== undefined) return answer.json;
    throw this.#refusal(verb, answer);
  }

  async #exchange(method: 'GET' | 'POST', path: string, data: string | undefined, timeoutMs: number): Promise<Exchange> {
    const timeout = AbortSignal.timeout(timeoutMs);
    try {
      const response = await this.#axios.request<string>({
        method,
        url: `${this.#base}/${path}`,
        ...(data === undefined ? {} : { data, headers: { 'content-type': 'application/json' } }),
        signal: timeout,
      });
      const { location } = response.headers as { readonly location?: string };
      return { status: response.status, text: response.data, json: jsonObject(response.data), location };
    } catch (error) {
      throw timeout.aborted
        ? new Error(`The DTM server at ${this.#base} did not answer ${verbOf(path)} in ${timeoutMs} ms`)
        : this.#unheard(path, error);
    }
  }

  /** The request came to nothing; whether it was sent is what matters. */
  #unheard(path: string, error: unknown): Error {
    const { code = '', message } = error as NodeJS.ErrnoException;
    const reason = excerpt(message === '' ? code : message);
    if (NOT_REACHED.has(code)) {
      return new SteppingError(
        'STORE_UNAVAILABLE',
        `The DTM server at ${this.#base} cannot be reached: ${reason}. Nothing was written. Start it, or mend serverUrl of dtm.`,
        { serverUrl: this.#base, cause: withoutRequest(error) },
      );
    }
    if (UNTRUSTED.test(code)) {
      return new SteppingError(
        'STORE_REFUSED',
        `The DTM server at ${this.#base} cannot be spoken to by TLS: ${reason}. Let Node trust its certificate (NODE_EXTRA_CA_CERTS), or mend serverUrl of dtm.`,
        { serverUrl: this.#base, cause: withoutRequest(error) },
      );
    }
    // A new one: that of axios holds the whole request, signatures among it.
    return Object.assign(new Error(`The DTM server at ${this.#base} gave no answer to ${verbOf(path)}: ${reason}`), { code });
  }

  #refusal(verb: string, { status, text, json, location }: Exchange): Error {
    const message = typeof json?.message === 'string' ? json.message : undefined;
    if (status === 413 || (message !== undefined && TOO_LARGE.test(message))) {
      return new SteppingError(
        'JOB_TOO_LARGE',
        `The DTM server at ${this.#base} does not take so large a job (${excerpt(message ?? `status ${status}`)}). Store the data elsewhere and pass its id, chain jobs by ctx.createJob, or enlarge the columns of DTM's store (bin_data is 64 KiB in MySQL).`,
        { serverUrl: this.#base },
      );
    }
    if (message !== undefined) return new Error(`The DTM server at ${this.#base} answered ${verb} with ${status}: ${excerpt(message)}`);
    // Of a proxy before a server that is down.
    if (status === 502 || status === 503 || status === 504) {
      return new Error(`The DTM server at ${this.#base} is not there: what stands before it answered ${verb} with ${status}`);
    }
    if (location !== undefined) return this.#noDtm(`answers ${verb} with ${status}, a redirect to ${excerpt(location)}`);
    return this.#noDtm(`answers ${verb} with ${status} and ${text === '' ? 'nothing' : JSON.stringify(excerpt(text))}`);
  }

  #noDtm(what: string): SteppingError<'STORE_REFUSED'> {
    return new SteppingError(
      'STORE_REFUSED',
      `What is at ${this.#base} is no DTM server, or something stands before it: it ${what}. serverUrl of dtm is that of DTM's HTTP port, http://host:36789 by default.`,
      { serverUrl: this.#base },
    );
  }
}

/** For people: one line, not too long, and nothing with which a callback could be forged: DTM shows the URLs that it calls. */
function excerpt(text: string): string {
  const line = text
    .replace(/\?[^\s"'?]*=[^\s"']*/g, '?…')
    .replace(/\s+/g, ' ')
    .trim();
  return line.length > EXCERPT_CHARS ? `${line.slice(0, EXCERPT_CHARS)}…` : line;
}

function jsonObject(text: string): Readonly<Record<string, unknown>> | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

function verbOf(path: string): string {
  return path.split('?')[0] ?? path;
}

/** Errors of axios hold the request, with the payloads and signatures in it. */
function withoutRequest(error: unknown): unknown {
  const { code, message, cause } = error as NodeJS.ErrnoException;
  return cause ?? Object.assign(new Error(message), { code });
}
