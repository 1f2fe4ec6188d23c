import type { Connection } from 'mongoose';

/** What we read of a connection beyond its published types. */
interface ConnectionInternals {
  readonly _closeCalled?: boolean;
}

/** Whether it was connected, and nobody has closed it. One that is cut off, which Mongoose calls disconnected, is connected again by its driver. */
export function isOpen(connection: Connection): boolean {
  return connection.getClient() !== undefined && (connection as ConnectionInternals)._closeCalled !== true;
}
