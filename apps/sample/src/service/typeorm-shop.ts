import type { StepContext, Stepping, SteppingPlugin } from '@stepping/core';
import { inTransaction, once, typeormDb } from '@stepping/db-typeorm';
import type { DataSource, EntityManager } from 'typeorm';
import { OrderEntity, ReservationEntity, StockEntity } from './entities.js';
import { CreateShop1764000000000 } from './migrations.js';
import type { Order, OrderLine, Shop, ShopScope, ShopTransaction } from './shop.js';

export const shopSchema = { entities: [OrderEntity, StockEntity, ReservationEntity], migrations: [CreateShop1764000000000] };

/** The shop in a SQL database. */
export class TypeormShop implements Shop {
  readonly plugin: SteppingPlugin;
  readonly #dataSource: DataSource;

  constructor(dataSource: DataSource) {
    this.#dataSource = dataSource;
    this.plugin = typeormDb({ dataSource });
  }

  async open({ migrate }: { migrate: boolean }): Promise<void> {
    await this.#dataSource.initialize();
    if (migrate) await this.#dataSource.runMigrations();
  }

  async close(): Promise<void> {
    if (this.#dataSource.isInitialized) await this.#dataSource.destroy();
  }

  async find(by: { id: string } | { requestId: string }): Promise<Order | undefined> {
    return (await this.#dataSource.manager.findOneBy(OrderEntity, by)) ?? undefined;
  }

  async count(): Promise<Record<Order['status'], number>> {
    const [placed, done] = await Promise.all(
      (['placed', 'done'] as const).map((status) => this.#dataSource.manager.countBy(OrderEntity, { status })),
    );
    return { placed: placed as number, done: done as number };
  }

  inTransaction<R>(stepping: Stepping, { gid }: { gid?: string }, work: (tx: ShopScope) => Promise<R>): Promise<R> {
    return inTransaction(stepping, { dataSource: this.#dataSource, gid }, ({ manager, job }) =>
      work({ shop: new TypeormTransaction(manager), job }),
    );
  }

  once(context: StepContext<any, any>, work: (shop: ShopTransaction) => Promise<void>): Promise<unknown> {
    return once(this.#dataSource, context, (manager) => work(new TypeormTransaction(manager)));
  }
}

class TypeormTransaction implements ShopTransaction {
  readonly #manager: EntityManager;

  constructor(manager: EntityManager) {
    this.#manager = manager;
  }

  async insertOrder(order: Order): Promise<void> {
    await this.#manager.insert(OrderEntity, { ...order, lines: [...order.lines] });
  }

  async linesOf(orderId: string): Promise<readonly OrderLine[]> {
    return (await this.#manager.findOneByOrFail(OrderEntity, { id: orderId })).lines;
  }

  async markDone(orderId: string, at: Date): Promise<void> {
    await this.#manager.update(OrderEntity, { id: orderId, status: 'placed' }, { status: 'done', doneAt: at });
  }

  async setStock(stock: { sku: string; available: number }): Promise<void> {
    await this.#manager.upsert(StockEntity, stock, ['sku']);
  }

  async takeStock({ sku, quantity }: Pick<OrderLine, 'sku' | 'quantity'>): Promise<boolean> {
    const taken = await this.#manager
      .createQueryBuilder()
      .update(StockEntity)
      .set({ available: () => 'available - :quantity' })
      .where('sku = :sku and available >= :quantity', { sku, quantity })
      .execute();
    return taken.affected !== 0;
  }

  async insertReservation(reservation: { id: string; orderId: string; madeAt: Date }): Promise<void> {
    await this.#manager.insert(ReservationEntity, reservation);
  }
}
