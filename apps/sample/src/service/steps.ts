import { randomUUID } from 'node:crypto';
import { defineStep, retryAfter, token } from '@stepping/core';
import { httpStep } from '@stepping/core/http';
import type { Transporter } from 'nodemailer';
import { z } from 'zod';
import { config } from './config.js';
import type { Shop, ShopTransaction } from './shop.js';

/** A transaction on the database of the shop. Steps write through it: on SQLite all who write take turns. */
export type InTransaction = <R>(work: (shop: ShopTransaction) => Promise<R>) => Promise<R>;
export const InTransaction = token<InTransaction>('InTransaction');

export const ShopOfSteps = token<Shop>('Shop');

export const Mailer = token<Pick<Transporter, 'sendMail'>>('Mailer');

/** The payment provider keeps a stalled request open for long; asking again with the same key is safe, so do it soon. Unit: ms. */
const PAYMENT_TIMEOUT_MS = 1_500;

/** How long to wait for more goods to come in. Unit: ms. */
const OUT_OF_STOCK_DELAY_MS = 5_000;

const OfOrder = z.object({ orderId: z.uuid() });

/** The provider knows a repeated charge by its `Idempotency-Key`, which every attempt of this step sends alike. */
export const chargeCard = httpStep({
  name: 'order.charge-card',
  args: z.object({ reference: z.string(), amount: z.number().int().positive(), card: z.string() }),
  timeoutMs: PAYMENT_TIMEOUT_MS,
  request: (charge) => ({ method: 'POST', url: new URL('/charges', config.payment.url), json: charge }),
  headers: () => ({ authorization: `Bearer ${config.payment.apiKey}` }),
});

export const reserveStock = defineStep({
  name: 'order.reserve-stock',
  args: OfOrder,
  inject: { shop: ShopOfSteps },
  // Taking it twice would be wrong, and a repeat of this step knows nothing of the attempt before: the database does.
  run: (context) =>
    context.deps.shop.once(context, async (shop) => {
      const { orderId } = context.args;
      const lines = await shop.linesOf(orderId);
      // Always in the same order, so that two orders of the same articles never wait for each other.
      for (const line of lines.toSorted((a, b) => (a.sku < b.sku ? -1 : 1))) {
        if (await shop.takeStock(line)) continue;
        throw retryAfter(OUT_OF_STOCK_DELAY_MS, `There are no ${line.quantity} of ${line.sku} in stock`);
      }
      await shop.insertReservation({ id: randomUUID(), orderId, madeAt: new Date() });
    }),
});

/** A mail can be sent twice if the process dies before it hears the answer; its Message-ID is the same then, so mailboxes show one. */
export const sendConfirmation = defineStep({
  name: 'order.send-confirmation',
  args: z.object({ reference: z.string(), to: z.email(), total: z.number() }),
  inject: { mailer: Mailer },
  timeoutMs: 10_000,
  async run({ args, deps, idempotencyKey }) {
    await deps.mailer.sendMail({
      messageId: `<${idempotencyKey.replace('/', '.')}@shop.example>`,
      from: 'The shop <orders@shop.example>',
      to: args.to,
      subject: `Your order ${args.reference}`,
      headers: { 'X-Order-Reference': args.reference },
      text: `Thank you for your order of ${(args.total / 100).toFixed(2)}. It is on its way.\n`,
    });
  },
});

export const markDone = defineStep({
  name: 'order.mark-done',
  args: OfOrder,
  inject: { inTransaction: InTransaction },
  run: ({ args, deps }) => deps.inTransaction((shop) => shop.markDone(args.orderId, new Date())),
});
