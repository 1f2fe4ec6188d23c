import type { StepContext, Stepping, SteppingPlugin } from '@stepping/core';
import { inTransaction, mongooseDb, once } from '@stepping/db-mongoose';
import type { ClientSession, Connection } from 'mongoose';
import { type ShopModels, shopModels } from './models.js';
import type { Order, OrderLine, Shop, ShopScope, ShopTransaction } from './shop.js';

/** The shop in MongoDB. */
export class MongooseShop implements Shop {
  readonly plugin: SteppingPlugin;
  readonly #connection: Connection;
  readonly #models: ShopModels;

  constructor(connection: Connection) {
    this.#connection = connection;
    this.plugin = mongooseDb({ connection });
    this.#models = shopModels(connection);
  }

  async open({ migrate }: { migrate: boolean }): Promise<void> {
    await this.#connection.asPromise();
    // Collections are made before any transaction writes to them.
    if (migrate) for (const model of Object.values(this.#models)) await model.init();
  }

  async close(): Promise<void> {
    await this.#connection.close();
  }

  async find(by: { id: string } | { requestId: string }): Promise<Order | undefined> {
    const found = await this.#models.Orders.findOne('id' in by ? { _id: by.id } : by).lean();
    if (found === null) return undefined;
    const { _id: id, ...order } = found;
    return { id, ...order };
  }

  async count(): Promise<Record<Order['status'], number>> {
    const [placed, done] = await Promise.all((['placed', 'done'] as const).map((status) => this.#models.Orders.countDocuments({ status })));
    return { placed: placed as number, done: done as number };
  }

  inTransaction<R>(stepping: Stepping, { gid }: { gid?: string }, work: (tx: ShopScope) => Promise<R>): Promise<R> {
    return inTransaction(stepping, { connection: this.#connection, gid }, ({ session, job }) =>
      work({ shop: new MongooseTransaction(this.#models, session), job }),
    );
  }

  once(context: StepContext<any, any>, work: (shop: ShopTransaction) => Promise<void>): Promise<unknown> {
    return once(this.#connection, context, (session) => work(new MongooseTransaction(this.#models, session)));
  }
}

class MongooseTransaction implements ShopTransaction {
  readonly #models: ShopModels;
  readonly #session: ClientSession;

  constructor(models: ShopModels, session: ClientSession) {
    this.#models = models;
    this.#session = session;
  }

  async insertOrder({ id, ...order }: Order): Promise<void> {
    await this.#models.Orders.create([{ _id: id, ...order }], { session: this.#session });
  }

  async linesOf(orderId: string): Promise<readonly OrderLine[]> {
    return (await this.#models.Orders.findById(orderId).session(this.#session).orFail().lean()).lines;
  }

  async markDone(orderId: string, at: Date): Promise<void> {
    await this.#models.Orders.updateOne({ _id: orderId, status: 'placed' }, { status: 'done', doneAt: at }, { session: this.#session });
  }

  async setStock({ sku, available }: { sku: string; available: number }): Promise<void> {
    await this.#models.Stock.updateOne({ _id: sku }, { available }, { upsert: true, session: this.#session });
  }

  async takeStock({ sku, quantity }: Pick<OrderLine, 'sku' | 'quantity'>): Promise<boolean> {
    const enough = { _id: sku, available: { $gte: quantity } };
    const taken = await this.#models.Stock.updateOne(enough, { $inc: { available: -quantity } }, { session: this.#session });
    return taken.matchedCount === 1;
  }

  async insertReservation({ id, ...reservation }: { id: string; orderId: string; madeAt: Date }): Promise<void> {
    await this.#models.Reservations.create([{ _id: id, ...reservation }], { session: this.#session });
  }
}
