import type { JobBuilder, StepContext, Stepping, SteppingPlugin } from '@stepping/core';

/** What a customer wants of one article. Prices are in cents. */
export interface OrderLine {
  readonly sku: string;
  readonly quantity: number;
  readonly unitPrice: number;
}

export interface Order {
  readonly id: string;
  /** What the client calls its order. */
  readonly requestId: string;
  readonly customer: string;
  readonly lines: readonly OrderLine[];
  readonly total: number;
  readonly status: 'placed' | 'done';
  readonly placedAt: Date;
  readonly doneAt: Date | null;
}

/**
 * The database of the shop, with TypeORM ({@link TypeormShop}) or Mongoose ({@link MongooseShop}). A service has one of them and uses it directly; this one has both, so that the rest of it can be
 * the same on every database.
 */
export interface Shop {
  /** Makes the database known to Stepping. */
  readonly plugin: SteppingPlugin;
  /** Makes tables or collections, if `migrate`. */
  open(options: { migrate: boolean }): Promise<void>;
  close(): Promise<void>;
  find(by: { readonly id: string } | { readonly requestId: string }): Promise<Order | undefined>;
  /** How many orders there are, by status. */
  count(): Promise<Record<Order['status'], number>>;
  /** `inTransaction` of `@stepping/db-typeorm` or `@stepping/db-mongoose`: the job starts if, and only if, the transaction commits. */
  inTransaction<R>(stepping: Stepping, options: { gid?: string }, work: (tx: ShopScope) => Promise<R>): Promise<R>;
  /** `once` of the same package. */
  once(context: StepContext<any, any>, work: (shop: ShopTransaction) => Promise<void>): Promise<unknown>;
}

export interface ShopScope {
  readonly shop: ShopTransaction;
  readonly job: JobBuilder;
}

/** The reads and writes of an open transaction. */
export interface ShopTransaction {
  insertOrder(order: Order): Promise<void>;
  linesOf(orderId: string): Promise<readonly OrderLine[]>;
  markDone(orderId: string, at: Date): Promise<void>;
  setStock(stock: { readonly sku: string; readonly available: number }): Promise<void>;
  /** False: there is not so much of it. */
  takeStock(line: Pick<OrderLine, 'sku' | 'quantity'>): Promise<boolean>;
  /** Says that the stock of an order was taken. Nothing in the database keeps an order from being in it twice: that is for its step to see to, and for the audit of the demo to find. */
  insertReservation(reservation: { readonly id: string; readonly orderId: string; readonly madeAt: Date }): Promise<void>;
}
