import type { DbTransaction } from './db-transaction.js';
import type { Logger } from './logger.js';

/**
 * Makes sure that the transaction cannot commit any more: rolls it back, and where that is not acknowledged, closes its connection. False: neither
 * was acknowledged, somebody could still commit it.
 */
export async function endTransaction(transaction: DbTransaction, logger: Required<Logger>): Promise<boolean> {
  if (!transaction.isActive()) return true;
  try {
    await transaction.rollback();
    return true;
  } catch (error) {
    logger.warn('A rollback was not acknowledged; closing the connection of its transaction', { error });
  }
  try {
    await transaction.close();
    return true;
  } catch (error) {
    logger.error('The connection of a transaction could not be closed; roll it back', { error });
    return false;
  }
}
