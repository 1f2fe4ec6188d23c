import { Column, Entity, Index, PrimaryColumn } from 'typeorm';
import type { Order, OrderLine } from './shop.js';

@Entity('orders')
export class OrderEntity implements Order {
  @PrimaryColumn({ type: 'varchar', length: 36 })
  id!: string;

  /**
   * What the client calls its order. A shop would make it unique, too, for orders repeated when their jobs are long purged; here the gid
   * is alone in keeping a repeated POST one order, so that the audit of the demo would see it fail.
   */
  @Index()
  @Column({ name: 'request_id', type: 'varchar', length: 200 })
  requestId!: string;

  @Column({ type: 'varchar', length: 320 })
  customer!: string;

  @Column({ type: 'simple-json' })
  lines!: OrderLine[];

  @Column({ type: 'integer' })
  total!: number;

  @Column({ type: 'varchar', length: 10 })
  status!: 'placed' | 'done';

  @Column({ name: 'placed_at', type: Date })
  placedAt!: Date;

  @Column({ name: 'done_at', type: Date, nullable: true })
  doneAt!: Date | null;
}

@Entity('stock')
export class StockEntity {
  @PrimaryColumn({ type: 'varchar', length: 64 })
  sku!: string;

  @Column({ type: 'integer' })
  available!: number;
}

/** Says that the stock of an order was taken. Nothing in this table keeps an order from being in it twice: that is for its step to see to, and for the audit of the demo to find. */
@Entity('reservations')
export class ReservationEntity {
  @PrimaryColumn({ type: 'varchar', length: 36 })
  id!: string;

  @Column({ name: 'order_id', type: 'varchar', length: 36 })
  orderId!: string;

  @Column({ name: 'made_at', type: Date })
  madeAt!: Date;
}
