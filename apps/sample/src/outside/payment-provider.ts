// A payment provider in a process of its own: `node payment-provider.js --ledger FILE [--port N] [--seed N]`. It charges once per
// Idempotency-Key and, like any other, now and then fails, stalls and asks for patience.
import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { json } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { type Charge, Ledger } from './ledger.js';
import { seededRandom } from './random.js';

const { values: options } = parseArgs({
  options: { ledger: { type: 'string' }, port: { type: 'string', default: '0' }, seed: { type: 'string', default: '1' } },
});
if (options.ledger === undefined) throw new Error('Give the file of the ledger: --ledger FILE');

const API_KEY = process.env.PAYMENT_API_KEY ?? 'test-key';
/** Longer than any client waits. Unit: ms. */
const STALL_MS = 6_000;

const ledger = new Ledger(options.ledger);
const random = seededRandom(Number(options.seed));
/** The requests that are not answered yet. */
const open = new Set<string>();
/** Control: who waits for the next charge to be held open, and what ends the holding. */
let hold: { told: (held: { request: string; charged: boolean }) => void; until: Promise<void>; release: () => void } | undefined;

const server = createServer((request, response) => {
  respond(request, response).catch((error) => {
    console.error(error);
    response.destroy();
  });
});
server.listen(Number(options.port), '127.0.0.1', () => {
  const { port } = server.address() as { port: number };
  console.log(`listening on http://127.0.0.1:${port}`);
});
process.once('SIGTERM', () => {
  hold?.release();
  server.close();
  server.closeAllConnections();
});

async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
  switch (`${request.method} ${request.url}`) {
    case 'POST /charges':
      return charge(request, response);
    case 'POST /control/hold':
      return holdNext(response);
    case 'POST /control/release':
      hold?.release();
      hold = undefined;
      return reply(response, 200, {});
    case 'GET /control/open':
      return reply(response, 200, { open: open.size });
    default:
      return reply(response, 404, { error: `There is no ${request.method} ${request.url} here` });
  }
}

async function charge(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.headers.authorization !== `Bearer ${API_KEY}`) return reply(response, 401, { error: 'the API key is wrong' });
  const key = request.headers['idempotency-key'];
  if (typeof key !== 'string') return reply(response, 400, { error: 'the header Idempotency-Key is missing' });
  const body = (await json(request)) as Charge;
  if (typeof body.reference !== 'string' || !Number.isInteger(body.amount))
    return reply(response, 422, { error: 'reference or amount is not right' });

  const id = randomUUID();
  open.add(id);
  ledger.received(id, key, body);
  response.once('close', () => {
    open.delete(id);
    if (!response.writableFinished) ledger.abandoned(id);
  });

  const answer = (status: number, headers: Record<string, string> = {}) => {
    if (response.destroyed) return;
    ledger.answered(id, status);
    open.delete(id);
    reply(response, status, { id: key, status: status < 300 ? 'charged' : 'error' }, headers);
  };
  const settle = () => answer(ledger.charge(id, key, body) === 'another charge has this key' ? 422 : 200);

  const fault = drawFault();
  await sleep(3 + random() * 25);
  if (hold) {
    const { told, until } = hold;
    hold = undefined;
    // Half of them are charged already: the client dies without knowing it.
    const charged = random() < 0.5;
    if (charged) ledger.charge(id, key, body);
    told({ request: id, charged });
    await until;
    return settle();
  }
  switch (fault) {
    case 'none':
      return settle();
    case 'error before':
      return answer(500);
    case 'error after':
      ledger.charge(id, key, body);
      return answer(502);
    case 'busy':
      return answer(503, { 'retry-after': '1' });
    case 'busy until':
      return answer(503, { 'retry-after': new Date(Date.now() + 1_000).toUTCString() });
    case 'cut off':
      ledger.charge(id, key, body);
      response.destroy();
      return;
    case 'stall':
      if (random() < 0.5) ledger.charge(id, key, body);
      await sleep(STALL_MS, undefined, { ref: false });
      return response.destroyed ? undefined : settle();
  }
}

type Fault = 'none' | 'error before' | 'error after' | 'busy' | 'busy until' | 'cut off' | 'stall';

/** One request in eight goes wrong. */
function drawFault(): Fault {
  const draw = random();
  if (draw < 0.03) return 'error before';
  if (draw < 0.05) return 'error after';
  if (draw < 0.08) return 'busy';
  if (draw < 0.09) return 'busy until';
  if (draw < 0.1) return 'cut off';
  if (draw < 0.125) return 'stall';
  return 'none';
}

/** Answers once a charge is held open; it stays so until `/control/release`, or until its client dies. */
function holdNext(response: ServerResponse): void {
  const { promise: until, resolve: release } = Promise.withResolvers<void>();
  hold = { told: (held) => reply(response, 200, held), until, release };
}

function reply(response: ServerResponse, status: number, body: object, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body));
}
