import pg from 'pg';
import type { Order, Payload, Producer } from './contestant.js';

/** Named, so that PostgreSQL plans it once a connection. */
export const INSERT_ORDER = { name: 'bench_order', text: 'insert into bench_order (customer, amount) values ($1, $2)' };

export function order(number: number): Order {
  return { customer: `customer-${number % 997}`, amount: number };
}

/** Whoever brings no transaction of its own gets plain `pg`: BEGIN, the order, the job through the same client, COMMIT. */
export function plainTransactions(database: string, callers: number, enqueueIn: NonNullable<Producer['enqueueIn']>) {
  const pool = new pg.Pool({ connectionString: database, max: callers });
  return {
    async placeOrder({ customer, amount }: Order, args: Payload): Promise<void> {
      const client = await pool.connect();
      try {
        await client.query('begin');
        await client.query({ ...INSERT_ORDER, values: [customer, amount] });
        await enqueueIn(client, args);
        await client.query('commit');
      } finally {
        client.release();
      }
    },
    close: () => pool.end(),
  };
}
