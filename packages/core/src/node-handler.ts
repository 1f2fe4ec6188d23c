import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Stepping } from './stepping.js';
import { Log } from './tokens.js';

/** Larger than any callback of a job that was taken. Unit: bytes. */
const MAX_BODY_BYTES = 8 * 1_024 * 1_024;

/** A request of `node:http`, or of what builds on it: Express adds `body` and `originalUrl`. */
type NodeRequest = IncomingMessage & { readonly body?: unknown; readonly originalUrl?: string };

/**
 * Serves `stepping.handle` in a server of `node:http`, Express or Fastify. The callback URL that the transaction manager was given has to lead here, for GET and POST.
 *
 * It wants the body as it came, since callbacks are signed. So it belongs before any body parser; one that keeps the body as a Buffer or a text in `req.body` may stand in front. Any other is
 * answered 500 and reported in the log.
 *
 * @example
 * createServer(nodeHandler(stepping)).listen(8080);                                     // node:http
 * app.all('/stepping', nodeHandler(stepping));                                          // Express, before app.use(express.json())
 * fastify.route({ method: ['GET', 'POST'], url: '/stepping', handler: () => {},         // Fastify, before it parses
 *   onRequest: (request, reply) => { reply.hijack(); handler(request.raw, reply.raw); } });
 */
export function nodeHandler(stepping: Pick<Stepping, 'handle' | 'resolve'>): (request: IncomingMessage, response: ServerResponse) => void {
  return (request, response) => {
    answer(stepping, request, response).catch((error: unknown) => {
      // Most of the time the other side hung up.
      stepping.resolve(Log).warn('a callback could not be answered', { error });
      response.destroy();
    });
  };
}

async function answer(stepping: Pick<Stepping, 'handle' | 'resolve'>, request: NodeRequest, response: ServerResponse): Promise<void> {
  const body = await bodyOf(request);
  if (body === 'too large') {
    // What is still on its way is not read.
    response.writeHead(413, { connection: 'close' }).end();
    return;
  }
  if (body === 'taken') {
    stepping
      .resolve(Log)
      .error(
        'A body parser in front of nodeHandler(stepping) has read the callback, so its signature cannot be checked and it was answered 500. Mount nodeHandler before the parser (Express: app.all(…) before app.use(express.json()); Fastify: in onRequest), or let that path be parsed by express.raw({ type: "*/*" }).',
      );
    response.writeHead(500).end();
    return;
  }
  const answered = await stepping.handle(toRequest(request, body));
  response.writeHead(answered.status, Object.fromEntries(answered.headers));
  response.end(answered.body === null ? undefined : Buffer.from(await answered.arrayBuffer()));
}

async function bodyOf(request: NodeRequest): Promise<Uint8Array<ArrayBuffer> | undefined | 'too large' | 'taken'> {
  if (request.method === 'GET' || request.method === 'HEAD') return undefined;
  const { body } = request;
  if (typeof body === 'string') return within(new TextEncoder().encode(body));
  if (body instanceof Uint8Array) return within(Uint8Array.from(body));
  // Parsers put an empty object there even when they did not read.
  if (request.readableDidRead) return 'taken';
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of request as AsyncIterable<Uint8Array>) {
    bytes += chunk.byteLength;
    if (bytes > MAX_BODY_BYTES) return 'too large';
    chunks.push(chunk);
  }
  return Uint8Array.from(Buffer.concat(chunks));
}

function within(body: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> | 'too large' {
  return body.byteLength > MAX_BODY_BYTES ? 'too large' : body;
}

function toRequest(request: NodeRequest, body: Uint8Array<ArrayBuffer> | undefined): Request {
  // A name of our own: what the sender calls this host is no part of what is signed, and may be no name at all.
  const url = new URL(`http://stepping.invalid${pathOf(request)}`);
  const headers = new Headers();
  for (const [name, value] of Object.entries(request.headers)) {
    if (typeof value === 'string' && !name.startsWith(':')) headers.set(name, value);
  }
  return new Request(url, { method: request.method ?? 'GET', headers, ...(body && { body }) });
}

/** Where it was sent to: Express takes the path that it was mounted at out of `url`. An absolute URL, as proxies send it, begins with its scheme. */
function pathOf({ originalUrl, url = '/' }: NodeRequest): string {
  const sent = originalUrl ?? url;
  return sent.startsWith('/') ? sent : sent.replace(/^[^/]*\/\/[^/?#]*/, '').replace(/^(?!\/)/, '/');
}
