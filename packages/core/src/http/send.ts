import type { Readable } from 'node:stream';
import type { Axios, AxiosResponse } from 'axios';
import { permanent, SteppingError } from '../stepping-error.js';
import type { WireRequest } from './http-request.js';
import { shownText, shownUrl, withoutSecrets } from './shown.js';

/** What came back, from the last server of a chain of redirects. */
export interface HttpAnswer {
  /** Method and URL that were answered, fit to be shown. */
  readonly request: string;
  readonly status: number;
  readonly headers: { readonly 'retry-after'?: string; readonly date?: string };
  /** Where a redirect points that was not followed, fit to be shown. */
  readonly redirect: string | undefined;
  /** Start of a textual body of a refusal, on one line, free of secrets; else ''. */
  readonly excerpt: string;
}

const MAX_REDIRECTS = 5;
/** Enough for the "what was wrong" of an API, and short enough for a log and a column. Unit: characters. */
const EXCERPT_LENGTH = 300;
/** What is read of a refusal to find it. Unit: bytes. */
const REFUSAL_BYTES = 16_384;

/**
 * Sends the request and reads the answer to its end; of one that `isSuccess` refuses only the start.
 *
 * @throws the reason of `signal`; {@link SteppingError} `DEPENDENCY_MISSING`, `STEP_PERMANENT` for a redirect that leads nowhere; else a plain error, made
 * here: those of axios hold the whole request with its credentials.
 */
export async function send(first: WireRequest, isSuccess: (status: number) => boolean, signal: AbortSignal): Promise<HttpAnswer> {
  const axios = await axiosClient();
  let request = first;
  for (let redirects = 0; ; redirects++) {
    const response = await exchange(axios, request, signal);
    const location = redirectOf(response);
    if (location === undefined || !request.followRedirects || isSuccess(response.status)) return read(request, response, isSuccess, signal);
    response.data.destroy();
    request = redirected(request, response.status, location, redirects);
  }
}

async function exchange(axios: Axios, request: WireRequest, signal: AbortSignal): Promise<AxiosResponse<Readable>> {
  try {
    // `false` keeps axios from adding a content type to a request without a body.
    const headers = request.body === undefined ? { 'content-type': false, ...request.headers } : request.headers;
    const response = await axios.request<Readable>({ method: request.method, url: request.url.href, headers, data: request.body, signal });
    // A body that breaks off while nobody reads it is of no interest, but without a listener it would end the process.
    response.data.on('error', () => {});
    return response;
  } catch (error) {
    signal.throwIfAborted();
    throw new Error(`${shown(request)} got no answer${reason(error, request)}`);
  }
}

async function read(
  request: WireRequest,
  response: AxiosResponse<Readable>,
  isSuccess: (status: number) => boolean,
  signal: AbortSignal,
): Promise<HttpAnswer> {
  const { status } = response;
  const success = isSuccess(status);
  const limit = success ? request.maxResponseBytes : REFUSAL_BYTES;
  const body = await readUpTo(limit, response.data).catch((error: unknown) => {
    signal.throwIfAborted();
    if (!success) return { start: Buffer.alloc(0), complete: false }; // the status has said it all
    throw new Error(`${shown(request)} answered ${status}, but its body broke off${reason(error, request)}`);
  });
  if (success && !body.complete) {
    throw new Error(`${shown(request)} answered ${status} with more than ${limit} bytes. Raise maxResponseBytes or ask for less.`);
  }
  const location = redirectOf(response);
  return {
    request: shown(request),
    status,
    headers: { ...textHeader(response, 'retry-after'), ...textHeader(response, 'date') },
    redirect: location === undefined ? undefined : shownLocation(request, location),
    excerpt: success ? '' : excerptOf(response, body.start, request.secrets),
  };
}

async function readUpTo(limit: number, body: Readable): Promise<{ start: Buffer; complete: boolean }> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of body as AsyncIterable<Buffer>) {
    chunks.push(chunk);
    size += chunk.length;
    if (size > limit) return { start: Buffer.concat(chunks), complete: false }; // leaving the loop closes the connection
  }
  return { start: Buffer.concat(chunks), complete: true };
}

function excerptOf(response: AxiosResponse, start: Buffer, secrets: readonly string[]): string {
  const { 'content-type': type } = textHeader(response, 'content-type');
  if (!/^(text\/plain|application\/([\w.-]+\+)?json)\b/i.test(type ?? '')) return '';
  const text = withoutSecrets(start.toString(), secrets).replace(/\s+/g, ' ').trim();
  return text.length > EXCERPT_LENGTH ? `${text.slice(0, EXCERPT_LENGTH)}…` : text;
}

function textHeader<N extends string>(response: AxiosResponse, name: N): { [K in N]?: string } {
  const value: unknown = response.headers[name];
  return (typeof value === 'string' ? { [name]: value } : {}) as { [K in N]?: string };
}

function redirectOf(response: AxiosResponse): string | undefined {
  return [301, 302, 303, 307, 308].includes(response.status) ? textHeader(response, 'location').location : undefined;
}

function redirected(from: WireRequest, status: number, location: string, redirects: number): WireRequest {
  const seen = `${shown(from)} answered ${status}, a redirect to ${shownLocation(from, location)}`;
  const url = URL.parse(location, from.url.href);
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:') throw permanent(`${seen}, which is not an http or https URL.`);
  if (redirects === MAX_REDIRECTS) throw permanent(`${seen}, the ${MAX_REDIRECTS + 1}th in a row. Request the last URL itself.`);
  url.username = '';
  url.password = '';
  url.hash = '';
  const drop = new Set<string>();
  // The server that redirects does not decide who else gets our credentials, nor for which virtual host.
  if (url.origin !== from.url.origin) for (const name of [...from.confidential, 'host']) drop.add(name);
  const becomesGet = (status === 303 && from.method !== 'HEAD') || ((status === 301 || status === 302) && from.method === 'POST');
  if (becomesGet) for (const name of Object.keys(from.headers)) if (name.startsWith('content-')) drop.add(name);
  return {
    ...from,
    url,
    method: becomesGet ? 'GET' : from.method,
    body: becomesGet ? undefined : from.body,
    headers: Object.fromEntries(Object.entries(from.headers).filter(([name]) => !drop.has(name))),
  };
}

function shown(request: WireRequest): string {
  return `${request.method} ${shownUrl(request.url)}`;
}

function shownLocation(from: WireRequest, location: string): string {
  const url = URL.parse(location, from.url.href);
  return url && url.origin !== 'null' ? shownUrl(url) : shownText(location);
}

/** Why the network failed, in Node's words. */
function reason(error: unknown, request: WireRequest): string {
  const { message, code } = error as NodeJS.ErrnoException;
  const text = withoutSecrets(message || code || '', request.secrets);
  return text === '' ? '' : `: ${text}`;
}

let client: Axios | undefined;

/** An axios of our own: what the app has set on its own one, credentials among it, is not for every host that a step talks to. */
async function axiosClient(): Promise<Axios> {
  client ??= new (await importAxios()).Axios({
    adapter: 'http',
    responseType: 'stream',
    validateStatus: () => true,
    maxRedirects: 0, // followed here, where it is known which headers are confidential
    proxy: false,
    maxBodyLength: Number.POSITIVE_INFINITY,
  });
  return client;
}

async function importAxios(): Promise<typeof import('axios')> {
  try {
    return await import('axios');
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (!code?.endsWith('MODULE_NOT_FOUND') || !message.includes('axios')) throw cause;
    throw new SteppingError(
      'DEPENDENCY_MISSING',
      'An httpStep sends its requests through axios, which is not installed: npm install axios',
      { cause },
    );
  }
}
