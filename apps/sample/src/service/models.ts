import { type Connection, Schema } from 'mongoose';
import type { Order } from './shop.js';

type Stored<T extends { readonly id: string }> = Omit<T, 'id'> & { readonly _id: string };

/** The collections of the shop, named and laid out like its tables. */
export function shopModels(connection: Connection) {
  const line = new Schema({ sku: String, quantity: Number, unitPrice: Number }, { _id: false });
  const order = new Schema<Stored<Order>>(
    {
      _id: String,
      // Not unique, as in the table of SQL: the gid is alone in keeping a repeated POST one order, so that the audit of the demo would see it fail.
      requestId: { type: String, required: true, index: true },
      customer: { type: String, required: true },
      lines: [line],
      total: { type: Number, required: true },
      status: { type: String, required: true },
      placedAt: { type: Date, required: true },
      doneAt: { type: Date, default: null },
    },
    { collection: 'orders', versionKey: false },
  );
  const stock = new Schema(
    { _id: String, available: { type: Number, required: true, min: 0 } },
    { collection: 'stock', versionKey: false },
  );
  const reservation = new Schema(
    { _id: String, orderId: { type: String, required: true }, madeAt: { type: Date, required: true } },
    { collection: 'reservations', versionKey: false },
  );
  return {
    Orders: connection.model('Order', order),
    Stock: connection.model('Stock', stock),
    Reservations: connection.model('Reservation', reservation),
  };
}

export type ShopModels = ReturnType<typeof shopModels>;
