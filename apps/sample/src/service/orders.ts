import { randomUUID } from 'node:crypto';
import { gidFrom, type Stepping, SteppingError } from '@stepping/core';
import type { FastifyInstance } from 'fastify';
import { z } from 'zod';
import { shop } from './databases.js';
import type { Order } from './shop.js';
import { chargeCard, markDone, reserveStock, sendConfirmation } from './steps.js';

const NewOrder = z.object({
  customer: z.email(),
  /** What the payment provider's form gave the browser in place of a card number. */
  card: z.string().min(1),
  lines: z
    .array(z.object({ sku: z.string().min(1).max(64), quantity: z.number().int().positive(), unitPrice: z.number().int().positive() }))
    .min(1)
    .refine((lines) => new Set(lines.map(({ sku }) => sku)).size === lines.length, 'one line per article'),
  /** The customer may not buy. The demo uses it to see a transaction roll back when everything was written. */
  blocked: z.boolean().default(false),
});

/** The client's own name for the order it places: repeated with the same one, a POST is one order. */
const RequestId = z.string('the header Idempotency-Key is missing').min(1).max(200);

class OrderRefused extends Error {}

export function orderRoutes(app: FastifyInstance, stepping: Stepping): void {
  app.post('/orders', async (request, reply) => {
    const requestId = RequestId.parse(request.headers['idempotency-key']);
    const input = NewOrder.parse(request.body);
    try {
      return await reply.code(201).send(await placeOrder(stepping, requestId, input));
    } catch (error) {
      if (SteppingError.is(error, 'JOB_DUPLICATE')) return reply.code(200).send(await shop.find({ requestId }));
      // An order of this name was rolled back, and the transaction manager never takes the name again: the client has to find another.
      if (SteppingError.is(error, 'JOB_STATUS')) return reply.code(410).send({ code: error.code, message: error.message });
      throw error;
    }
  });

  app.get('/orders', async () => shop.count());

  app.get<{ Params: { id: string } }>('/orders/:id', async (request, reply) => {
    const order = await shop.find({ id: request.params.id });
    return order ?? reply.code(404).send({ message: `There is no order ${request.params.id}` });
  });

  app.put<{ Params: { sku: string } }>('/stock/:sku', async (request) => {
    const { available } = z.object({ available: z.number().int().min(0) }).parse(request.body);
    const stock = { sku: request.params.sku, available };
    await shop.inTransaction(stepping, {}, (tx) => tx.shop.setStock(stock));
    return stock;
  });

  app.setErrorHandler((error, _request, reply) => {
    if (error instanceof z.ZodError) return reply.code(400).send({ message: z.prettifyError(error) });
    if (error instanceof OrderRefused) return reply.code(422).send({ message: error.message });
    // Nobody knows yet whether this order was placed: the client asks again with the same Idempotency-Key.
    if (SteppingError.is(error)) return reply.code(503).header('retry-after', '1').send({ code: error.code, message: error.message });
    return reply.send(error);
  });
}

/** Commits the order and its job in one go, or neither. */
function placeOrder(stepping: Stepping, requestId: string, { blocked, card, ...input }: z.output<typeof NewOrder>): Promise<Order> {
  return shop.inTransaction(stepping, { gid: gidFrom('order', requestId) }, async ({ shop, job }) => {
    const total = input.lines.reduce((sum, { quantity, unitPrice }) => sum + quantity * unitPrice, 0);
    const order: Order = {
      ...input,
      id: randomUUID(),
      requestId,
      total,
      status: 'placed',
      placedAt: new Date(),
      doneAt: null,
    };
    await shop.insertOrder(order);
    job
      .addStep(chargeCard, { reference: requestId, amount: total, card })
      .addStep(reserveStock, { orderId: order.id })
      .addStep(sendConfirmation, { reference: requestId, to: order.customer, total })
      .addStep(markDone, { orderId: order.id });
    if (blocked) throw new OrderRefused(`${order.customer} is not allowed to buy`);
    return order;
  });
}
