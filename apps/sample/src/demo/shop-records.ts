import Database from 'better-sqlite3';
import { createConnection } from 'mongoose';
import mysql from 'mysql2/promise';
import pg from 'pg';

/** What the database of the shop says, read by a plain driver. Times in ms since 1970. */
export interface ShopRecords {
  readonly orders: readonly OrderRecord[];
  readonly reservations: readonly ReservationRecord[];
  readonly stock: ReadonlyMap<string, number>;
}

export interface OrderRecord {
  readonly id: string;
  readonly requestId: string;
  readonly total: number;
  readonly status: string;
  readonly doneAt: number | undefined;
}

export interface ReservationRecord {
  readonly id: string;
  readonly orderId: string;
  readonly madeAt: number;
}

/** Reads a SQLite file, or a database of PostgreSQL, MariaDB or MongoDB. */
export function readShop(at: string): Promise<ShopRecords> {
  return at.startsWith('mongodb') ? readMongo(at) : readSql(at);
}

async function readMongo(at: string): Promise<ShopRecords> {
  const connection = await createConnection(at).asPromise();
  const all = (collection: string) => connection.getClient().db(connection.name).collection<any>(collection).find().toArray();
  const [orders, reservations, stock] = [await all('orders'), await all('reservations'), await all('stock')];
  await connection.close();
  return {
    orders: orders.map(({ _id, requestId, total, status, doneAt }) => ({ id: _id, requestId, total, status, doneAt: doneAt?.getTime() })),
    reservations: reservations.map(({ _id, orderId, madeAt }) => ({ id: _id, orderId, madeAt: madeAt.getTime() })),
    stock: new Map(stock.map(({ _id, available }) => [_id, available])),
  };
}

async function readSql(at: string): Promise<ShopRecords> {
  const query = await open(at);
  const orders = await query.all('select id, request_id, total, status, done_at from orders');
  const reservations = await query.all('select id, order_id, made_at from reservations');
  const stock = await query.all('select sku, available from stock');
  await query.end();
  return {
    orders: orders.map((row) => ({
      id: String(row.id),
      requestId: String(row.request_id),
      total: Number(row.total),
      status: String(row.status),
      doneAt: row.done_at === null ? undefined : time(row.done_at),
    })),
    reservations: reservations.map((row) => ({ id: String(row.id), orderId: String(row.order_id), madeAt: time(row.made_at) })),
    stock: new Map(stock.map((row) => [String(row.sku), Number(row.available)])),
  };
}

function open(at: string): Promise<Query> {
  if (/^postgres(ql)?:/.test(at)) return overPostgres(at);
  return /^(mysql|mariadb):/.test(at) ? overMariadb(at) : overSqlite(at);
}

interface Query {
  all(sql: string): Promise<Record<string, unknown>[]>;
  end(): Promise<void>;
}

async function overSqlite(file: string): Promise<Query> {
  const database = new Database(file, { readonly: true, fileMustExist: true });
  return {
    all: async (sql) => database.prepare<[], Record<string, unknown>>(sql).all(),
    end: async () => void database.close(),
  };
}

async function overPostgres(connectionString: string): Promise<Query> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  return {
    all: async (sql) => (await client.query(sql)).rows,
    end: () => client.end(),
  };
}

async function overMariadb(uri: string): Promise<Query> {
  const connection = await mysql.createConnection({ uri, timezone: 'Z' });
  return {
    all: async (sql) => (await connection.query<mysql.RowDataPacket[]>(sql))[0],
    end: () => connection.end(),
  };
}

/** The drivers of the servers give a Date, SQLite has text in UTC. */
function time(value: unknown): number {
  return value instanceof Date ? value.getTime() : Date.parse(`${String(value).replace(' ', 'T')}Z`);
}
