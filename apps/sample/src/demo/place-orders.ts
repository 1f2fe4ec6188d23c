import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { seededRandom } from '../outside/random.js';
import type { OrderLine } from '../service/shop.js';

/** Orders posted at the same time. */
const CONCURRENCY = 12;
/** A client rests up to this long before its next order, so that the shop keeps pace and is killed in the middle of everything. Unit: ms. */
const REST_MS = 250;
/** An answer that takes longer is not waited for. Unit: ms. */
const ANSWER_TIMEOUT_MS = 5_000;
/** Before an unanswered POST is repeated. Unit: ms. */
const REPEAT_DELAY_MS = 100;
/** One client in seven is impatient and sends its order twice at the same time. */
const IMPATIENT = 7;
/** One order in ten is refused after it was written: its transaction rolls back. */
const BLOCKED = 10;

/** An order of the demo. */
export interface DemoOrder {
  /** What its client calls it: every POST of it carries that. Another one when the shop said that it never takes this one again. */
  requestId: string;
  readonly customer: string;
  readonly lines: readonly OrderLine[];
  readonly total: number;
  readonly blocked: boolean;
}

/** What the shop said. `created`: how many POSTs of it were answered "created"; it should be one at most. */
export interface Answer {
  readonly requestId: string;
  readonly outcome: 'accepted' | 'refused';
  readonly created: number;
}

export const OrderLines = z
  .array(z.object({ sku: z.string().min(1).max(64), quantity: z.number().int().positive(), unitPrice: z.number().int().positive() }))
  .min(1, 'at least one line');

/** Makes `count` orders of the lines, the same ones for the same seed. */
export function makeOrders(count: number, lines: readonly OrderLine[], seed: number): DemoOrder[] {
  const random = seededRandom(seed);
  return Array.from({ length: count }, (_, index) => {
    const ofOrder = new Map<string, OrderLine>();
    for (let left = 1 + Math.floor(random() * 3); left > 0; left--) {
      const line = lines[Math.floor(random() * lines.length)] as OrderLine;
      ofOrder.set(line.sku, line);
    }
    const own = [...ofOrder.values()];
    return {
      requestId: `demo-${seed}-${index + 1}`,
      customer: `customer-${index + 1}@mail.example`,
      lines: own,
      total: own.reduce((sum, { quantity, unitPrice }) => sum + quantity * unitPrice, 0),
      blocked: index % BLOCKED === BLOCKED - 1,
    };
  });
}

/** Places all orders, a few at a time, and repeats every POST until the shop answers it. */
export async function placeOrders(
  orders: readonly DemoOrder[],
  { shopUrl, seed, onAnswer, onRepeat }: { shopUrl: string; seed: number; onAnswer: (answer: Answer) => void; onRepeat: () => void },
): Promise<void> {
  const waiting = orders.entries();
  const random = seededRandom(seed);
  const client = async () => {
    for (const [index, order] of waiting) {
      await sleep(random() * REST_MS);
      const posts = index % IMPATIENT === 0 ? 2 : 1;
      const statuses = await Promise.all(Array.from({ length: posts }, () => postUntilAnswered(order, shopUrl, onRepeat)));
      if (new Set(statuses.map((status) => status === 422)).size > 1) {
        throw new Error(`The shop both accepted and refused ${order.requestId}: it answered ${statuses.join(' and ')}`);
      }
      onAnswer({
        requestId: order.requestId,
        outcome: statuses[0] === 422 ? 'refused' : 'accepted',
        created: statuses.filter((status) => status === 201).length,
      });
    }
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, client));
}

/** 201: placed now; 200: placed before; 422: refused; 410: the shop will never take it under this name. All else is no answer, and the same order is posted again. */
async function postUntilAnswered(order: DemoOrder, shopUrl: string, onRepeat: () => void): Promise<number> {
  for (;;) {
    const { requestId } = order;
    const response = await post(order, shopUrl);
    // Only once for the two POSTs of an impatient client.
    if (response?.status === 410) {
      if (order.requestId === requestId) order.requestId = `${requestId}-anew`;
      continue;
    }
    if (response && [200, 201, 422].includes(response.status)) return response.status;
    if (response && response.status < 500) {
      throw new Error(`The shop answered ${response.status} to ${order.requestId}, which was not expected: ${response.text}`);
    }
    onRepeat();
    await sleep(REPEAT_DELAY_MS);
  }
}

async function post(order: DemoOrder, shopUrl: string): Promise<{ status: number; text: string } | undefined> {
  try {
    const response = await fetch(new URL('/orders', shopUrl), {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'idempotency-key': order.requestId },
      body: JSON.stringify({ customer: order.customer, card: 'tok_visa', lines: order.lines, blocked: order.blocked }),
      signal: AbortSignal.timeout(ANSWER_TIMEOUT_MS),
    });
    return { status: response.status, text: await response.text() };
  } catch {
    return undefined; // the shop was killed, or is not up yet
  }
}
