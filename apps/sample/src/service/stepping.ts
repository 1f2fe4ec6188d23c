import { createStepping, type Logger, provide, type Stepping } from '@stepping/core';
import { createTransport } from 'nodemailer';
import { config } from './config.js';
import { shop } from './databases.js';
import { chargeCard, InTransaction, Mailer, markDone, reserveStock, ShopOfSteps, sendConfirmation } from './steps.js';
import { tm } from './tm.js';

/** Everything that Stepping is in this service. */
export function wireStepping(logger: Logger): Stepping {
  const stepping: Stepping = createStepping({
    steps: [chargeCard, reserveStock, sendConfirmation, markDone],
    tm,
    use: [
      shop.plugin,
      provide(ShopOfSteps, () => shop),
      provide(InTransaction, () => (work) => shop.inTransaction(stepping, {}, (tx) => work(tx.shop))),
      provide(Mailer, () => createTransport(config.smtpUrl)),
    ],
    retry: { minDelayMs: 200, maxDelayMs: 5_000 },
    logger,
  });
  return stepping;
}
