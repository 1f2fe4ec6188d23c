import type { QueryRunner } from 'typeorm';

/** Of all transactions on a connection of `pg`, as the server tells of them: also of those that were ended by a text of SQL. */
export interface TransactionEnds {
  readonly commits: number;
  /** Also to a savepoint: the server calls both the same. */
  readonly rollbacks: number;
}

interface Connection {
  on(event: 'commandComplete', listener: (message: { readonly text: string }) => void): unknown;
}

const watched = new WeakMap<Connection, { commits: number; rollbacks: number }>();

/** Until now. Counts from the first call for a connection on. */
export function transactionEnds(runner: QueryRunner): TransactionEnds {
  const { connection } = (runner as unknown as { databaseConnection: { readonly connection: Connection } }).databaseConnection;
  let ends = watched.get(connection);
  if (ends === undefined) {
    const counts = { commits: 0, rollbacks: 0 };
    connection.on('commandComplete', ({ text }) => {
      if (text === 'COMMIT') counts.commits++;
      else if (text === 'ROLLBACK') counts.rollbacks++;
    });
    watched.set(connection, counts);
    ends = counts;
  }
  return { ...ends };
}
