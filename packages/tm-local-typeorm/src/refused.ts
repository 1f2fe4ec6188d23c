import { WriteRefused } from '@stepping/tm-local';
import { isDefiniteRefusal } from '@stepping/typeorm';

/** Waits for the only statement of a write: where the server itself said no, nothing was written. */
export async function orRefused<R>(write: Promise<R>): Promise<R> {
  try {
    return await write;
  } catch (error) {
    if (!isDefiniteRefusal(error)) throw error;
    throw new WriteRefused(`The database refused a write: ${error instanceof Error ? error.message : error}`, { cause: error });
  }
}
