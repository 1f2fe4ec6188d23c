import { createStepping, type Logger, provide, type Stepping } from '@stepping/core';
import { localTm } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { createTransport } from 'nodemailer';
import { config } from './config.js';
import { jobs, shop } from './databases.js';
import { chargeCard, InTransaction, Mailer, markDone, reserveStock, ShopOfSteps, sendConfirmation } from './steps.js';

/** How soon the jobs of a killed process go on elsewhere. Short, so that the demo need not wait; 10 000 is the default. Unit: ms. */
const LEASE_MS = 2_000;

/** Everything that Stepping is in this service. */
export function wireStepping(logger: Logger): Stepping {
  const stepping: Stepping = createStepping({
    steps: [chargeCard, reserveStock, sendConfirmation, markDone],
    tm: localTm({
      store: jobs,
      processor: config.role === 'web' ? false : hostedProcessor(),
      leaseMs: LEASE_MS,
      prepareTimeoutMs: LEASE_MS,
    }),
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
