// A service in a process of its own, that is told what to do by the test which started it: node shop-process.ts <ProcessOptions as JSON>
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { completeLogger, nodeHandler } from '@stepping/core';
import { openBooks } from './books.js';
import type { Answer, Order, ProcessOptions } from './processes.js';
import { openShop } from './shop.js';

const options: ProcessOptions = JSON.parse(process.argv.at(-1) as string);
const books = await openBooks(options.business, options.jobs);
const shops = Array.from({ length: options.processors ?? 1 }, (_, i) =>
  openShop(books, {
    ...options,
    node: options.processors ? `${options.node}.${i}` : options.node,
    ...(options.verbose ? { logger: completeLogger(console) } : {}),
  }),
);
for (const { stepping } of shops) await stepping.start();
const callbacks = options.dtm && createServer(nodeHandler((shops[0] as (typeof shops)[0]).stepping));
await new Promise<void>((resolve) => (callbacks ? callbacks.listen(0, '127.0.0.1', resolve) : resolve()));

const obey = async ({ order }: { order: Order }): Promise<Answer> => {
  if (order === 'stop') {
    await Promise.all(shops.map(({ stepping }) => stepping.stop({ drainTimeoutMs: 2_000 })));
    callbacks?.close().closeAllConnections();
    await books.close();
    return { told: [] };
  }
  const shop = shops[0] as (typeof shops)[0];
  return { told: await Promise.all(order.gids.map((gid) => shop[order.what](gid, order.plan))) };
};
process.on('message', (message: { id: number; order: Order }) => {
  obey(message).then(
    (answer) => {
      process.send?.({ id: message.id, ...answer });
      if (message.order === 'stop') process.disconnect();
    },
    (error) => {
      throw error;
    },
  );
});
// It never outlives its test.
process.on('disconnect', () => setTimeout(() => process.exit(), 3_000).unref());
process.send?.({ port: callbacks && (callbacks.address() as AddressInfo).port });
