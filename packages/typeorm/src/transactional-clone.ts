import { DataSource } from 'typeorm';
import { originOf, rememberOrigin } from './origin.js';
import { sqliteWriterOptions } from './own-data-source.js';

/** A share in the clone; it is closed when the last one is given back. */
export interface CloneShare {
  readonly dataSource: DataSource;
  release(): Promise<void>;
}

interface Clone {
  readonly opened: Promise<DataSource>;
  shares: number;
}

const clones = new WeakMap<DataSource, Clone>();

/**
 * A second connection to a SQLite file, with the user's options, entities and subscribers, for transactions alone. TypeORM's SQLite driver has one
 * connection per DataSource: a transaction on the user's own would swallow whatever the rest of the application does meanwhile, and nest with others.
 * One per DataSource and process; never synchronizes or migrates.
 */
export async function transactionalClone(dataSource: DataSource): Promise<CloneShare> {
  const origin = originOf(dataSource);
  const clone = clones.get(origin) ?? { opened: openClone(origin), shares: 0 };
  clones.set(origin, clone);
  clone.shares++;
  let released = false;
  const release = async () => {
    if (released) return;
    released = true;
    if (--clone.shares > 0) return;
    if (clones.get(origin) === clone) clones.delete(origin);
    await (await clone.opened).destroy();
  };
  try {
    return { dataSource: await clone.opened, release };
  } catch (error) {
    clones.delete(origin); // the next one tries anew
    throw error;
  }
}

async function openClone(origin: DataSource): Promise<DataSource> {
  const clone = new DataSource({ ...sqliteWriterOptions(origin), synchronize: false, migrationsRun: false, dropSchema: false });
  rememberOrigin(clone, origin);
  await clone.initialize();
  // The very same subscribers, also those that were added to the list later: one instance of each, as the user expects.
  return Object.assign(clone, { subscribers: origin.subscribers });
}
