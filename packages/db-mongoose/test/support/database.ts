import { testService } from '@stepping/test-services';
import { type Connection, createConnection, Schema } from 'mongoose';

export interface Order {
  what: string;
}

export const mongodb = await testService('mongodb');

const opened: Connection[] = [];

/**
 * After an error of the network Mongoose holds back what it is asked for, ten seconds at most, until the driver has seen the server again; and that looks every ten seconds by default.
 * Unit: ms.
 */
const HEARTBEAT_MS = 500;

/** A new, empty database as a user sets it up, connected; or another connection to one, through a client of its own. */
export async function connected(url?: string, options: object = {}): Promise<Connection> {
  const settings = { serverSelectionTimeoutMS: 10_000, heartbeatFrequencyMS: HEARTBEAT_MS, ...options };
  const connection = await createConnection(url ?? (await mongodb.database()), settings).asPromise();
  connection.model<Order>('Order', orderSchema());
  if (url === undefined) await connection.model('Order').createCollection();
  opened.push(connection);
  return connection;
}

export function orderSchema(): Schema<Order> {
  return new Schema<Order>({ what: { type: String, required: true } });
}

export async function closeConnections(): Promise<void> {
  await Promise.all(opened.splice(0).map((connection) => connection.close(true)));
}

export function ordersOf(connection: Connection) {
  return connection.model<Order>('Order');
}
