import type { ClientSession, Connection } from 'mongoose';

/** What we read of the driver's session beyond its published types; both have been there since sessions have. */
interface SessionInternals {
  readonly client: object;
  /** A new object for each transaction, also when `withTransaction` runs its callback again. */
  readonly transaction: SessionTransaction;
}

export interface SessionTransaction {
  readonly options: { writeConcern?: WriteConcern | undefined };
}

interface WriteConcern {
  readonly w?: unknown;
  readonly j?: boolean | undefined;
  readonly journal?: boolean | undefined;
}

/** The transaction that was begun last on this session. */
export function transactionOf(session: ClientSession): SessionTransaction {
  return (session as unknown as SessionInternals).transaction;
}

/** Whether the session was started by the client of this connection. Only that one can use it. */
export function isOf(session: ClientSession, connection: Connection): boolean {
  const { client } = session as unknown as SessionInternals;
  return client !== undefined && client === connection.getClient();
}
