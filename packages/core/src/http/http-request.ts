import { validateHeaderName, validateHeaderValue } from 'node:http';
import { permanent } from '../stepping-error.js';
import { shownText, shownUrl } from './shown.js';

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS'] as const;
export type HttpMethod = (typeof METHODS)[number];

/** Parameters of the query: an array repeats its name, undefined is left out. */
export type HttpQuery = Readonly<Record<string, HttpQueryValue | readonly HttpQueryValue[]>>;
type HttpQueryValue = string | number | boolean | undefined;

/** One request of an `httpStep`. At most one of `json`, `text`, `form` and `bytes`. */
export interface HttpRequest {
  /** Default `'POST'`: a step does something. */
  method?: HttpMethod | undefined;
  /** Absolute, `http:` or `https:`, without user name and password. */
  url: string | URL;
  /** Added to what `url` has already. */
  query?: HttpQuery | undefined;
  /** Credentials belong into `headers()` of the step. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** Body, as `application/json`. */
  json?: unknown;
  /** Body, as `text/plain` in UTF-8. */
  text?: string | undefined;
  /** Body, as `application/x-www-form-urlencoded`. */
  form?: Readonly<Record<string, string>> | undefined;
  /** Body as it is, as `application/octet-stream`. */
  bytes?: Uint8Array | undefined;
  /** Largest answer to a successful request, uncompressed; a larger one fails the attempt. Default 1 048 576 (1 MiB). Unit: bytes. */
  maxResponseBytes?: number | undefined;
  /**
   * Follows up to five redirects as browsers do: 303, and 301 and 302 to a POST, become a GET without a body. Another scheme, host or port gets neither
   * what `headers()` gave nor `authorization`, `cookie` and the like. Default: a redirect fails the step, naming its target.
   */
  followRedirects?: boolean | undefined;
  // axios's words. TypeScript does not check a callback's result for unknown keys, so they are refused by name.
  data?: never;
  params?: never;
}

/** A request that is ready to be sent. Names of headers are in lower case. */
export interface WireRequest {
  readonly method: HttpMethod;
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | undefined;
  /** Names of the headers that are not for another host. */
  readonly confidential: ReadonlySet<string>;
  /** Texts that must not show up in an error. */
  readonly secrets: readonly string[];
  readonly maxResponseBytes: number;
  readonly followRedirects: boolean;
}

const MAX_RESPONSE_BYTES = 1_048_576;
/** Never a secret, and any server on the way to the effect needs it. */
const IDEMPOTENCY_KEY = 'idempotency-key';

/**
 * Checks what `request(args)` returned. It depends on nothing but the args, so what is wrong now is wrong at every attempt.
 *
 * @throws {@link SteppingError} `STEP_PERMANENT`
 */
export function planRequest(step: string, request: HttpRequest, idempotencyKey: string): WireRequest {
  const refuse = (problem: string) => permanent(`The request of step ${step} cannot be sent: ${problem}`);
  const { method = 'POST', maxResponseBytes = MAX_RESPONSE_BYTES } = request;
  if (!METHODS.includes(method)) throw refuse(`${JSON.stringify(method)} is not one of ${METHODS.join(', ')}.`);
  if (!Number.isSafeInteger(maxResponseBytes) || maxResponseBytes < 0)
    throw refuse(`maxResponseBytes is ${maxResponseBytes}, not a number of bytes.`);
  const url = urlOf(request, refuse);
  const { type, body } = bodyOf(request, refuse);
  const own = checkedHeaders(request.headers ?? {}, refuse);
  const headers = { [IDEMPOTENCY_KEY]: idempotencyKey, ...(type !== undefined && { 'content-type': type }), ...own };
  const confidential = new Set(Object.keys(own).filter((name) => SOUNDS_SECRET.test(name) && name !== IDEMPOTENCY_KEY));
  const secrets = [...url.searchParams].filter(([name]) => SOUNDS_SECRET.test(name)).map(([, value]) => value);
  secrets.push(...[...confidential].flatMap((name) => spellings(own[name] ?? '')));
  return { method, url, headers, body, confidential, secrets, maxResponseBytes, followRedirects: request.followRedirects ?? false };
}

/**
 * Lays the headers of this attempt over the request. They are asked for anew each time, so a bad one may be mended by then: a plain error, which is tried again.
 */
export function authorize(step: string, request: WireRequest, credentials: Readonly<Record<string, string>>): WireRequest {
  const checked = checkedHeaders(credentials, (problem) => new Error(`headers() of step ${step} returned what cannot be sent: ${problem}`));
  const confidential = Object.keys(checked).filter((name) => name !== IDEMPOTENCY_KEY);
  return {
    ...request,
    headers: { ...request.headers, ...checked },
    confidential: new Set([...request.confidential, ...confidential]),
    secrets: [...request.secrets, ...confidential.flatMap((name) => spellings(checked[name] ?? ''))],
  };
}

function urlOf(request: HttpRequest, refuse: (problem: string) => Error): URL {
  const url = URL.parse(String(request.url));
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:')
    throw refuse(`${shownText(String(request.url))} is not an absolute http or https URL.`);
  if (url.username !== '' || url.password !== '') {
    throw refuse(`the URL ${shownUrl(url)} has a user name or password in it. Send credentials as a header, from headers().`);
  }
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(request.query ?? {})) {
    for (const one of Array.isArray(value) ? value : [value]) if (one !== undefined) query.append(name, String(one));
  }
  // Appended as text: through `url.searchParams` the part that is there already would be encoded anew.
  if (query.size > 0) url.search = url.search === '' ? `${query}` : `${url.search}&${query}`;
  url.hash = '';
  return url;
}

function bodyOf(request: HttpRequest, refuse: (problem: string) => Error): { type?: string; body: Buffer | undefined } {
  const { json, text, form, bytes } = request;
  const given = Object.entries({ json, text, form, bytes }).filter(([, body]) => body !== undefined);
  if (given.length > 1) throw refuse(`it has ${given.length} bodies, ${given.map(([kind]) => kind).join(' and ')}. Leave one of them.`);
  if (text !== undefined) return { type: 'text/plain; charset=utf-8', body: Buffer.from(text) };
  if (form !== undefined) return { type: 'application/x-www-form-urlencoded', body: Buffer.from(`${new URLSearchParams(form)}`) };
  if (bytes !== undefined) return { type: 'application/octet-stream', body: Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
  if (json === undefined) return { body: undefined };
  return { type: 'application/json', body: Buffer.from(jsonOf(json, refuse)) };
}

function jsonOf(value: unknown, refuse: (problem: string) => Error): string {
  let problem = `a ${typeof value} is not JSON`;
  try {
    const json = JSON.stringify(value);
    if (json !== undefined) return json;
  } catch (error) {
    problem = error instanceof Error ? error.message : String(error);
  }
  throw refuse(`its json body cannot be written as JSON: ${problem}.`);
}

/** Of names of headers and of query parameters. */
const SOUNDS_SECRET = /auth|cookie|credential|key|passw|secret|session|sig|token/i;

// They say where a body ends. A wrong one would make the server read one request as two, on a connection that others share.
const FRAMING = ['content-length', 'transfer-encoding'];

function checkedHeaders(headers: Readonly<Record<string, string>>, refuse: (problem: string) => Error): Record<string, string> {
  const checked: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (!isHeaderName(name)) throw refuse(`${JSON.stringify(name)} is not the name of a header.`);
    if (FRAMING.includes(name.toLowerCase())) throw refuse(`${name} is set by the body. Leave it out.`);
    if (typeof value !== 'string') throw refuse(`the header ${name} is ${value === null ? 'null' : typeof value}, not a string.`);
    if (!isHeaderValue(value)) throw refuse(`the header ${name} contains a line break or another character that a header cannot hold.`);
    checked[name.toLowerCase()] = value;
  }
  return checked;
}

function isHeaderName(name: string): boolean {
  try {
    validateHeaderName(name);
    return true;
  } catch {
    return false;
  }
}

function isHeaderValue(value: string): boolean {
  try {
    validateHeaderValue('x', value);
    return true;
  } catch {
    return false;
  }
}

/** A credential as a server might repeat it: the whole header, its parts (a token after `Bearer`, a cookie's value), a login decoded. */
function spellings(header: string): string[] {
  const parts = header.split(/[\s;,=]+/).filter((part) => part.length >= SHORTEST_PART);
  const [, login] = /^basic\s+(\S+)$/i.exec(header) ?? [];
  if (login === undefined) return [header, ...parts];
  const decoded = Buffer.from(login, 'base64').toString();
  return [header, ...parts, decoded, decoded.slice(decoded.indexOf(':') + 1)];
}

/** Longer than `Bearer`, which is no secret. Unit: characters. */
const SHORTEST_PART = 8;
