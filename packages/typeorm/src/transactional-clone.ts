import { type BaseEntity, DataSource } from 'typeorm';
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
  const clone = new DataSource({
    ...sqliteWriterOptions(origin),
    subscribers: [],
    migrations: [],
    synchronize: false,
    migrationsRun: false,
    dropSchema: false,
  });
  rememberOrigin(clone, origin);
  const active = activeRecords(origin);
  await clone.initialize();
  // TypeORM points entities that extend BaseEntity at the DataSource initialized last; `Order.find()` must stay with the user's.
  for (const [entity, dataSource] of active) entity.useDataSource(dataSource);
  return Object.assign(clone, {
    // The very same subscribers, also those that were added to the list later: one instance of each, as the user expects.
    subscribers: origin.subscribers,
    // A lazy relation that is read after the transaction must not read inside somebody else's.
    relationLoader: origin.relationLoader,
  });
}

function activeRecords(origin: DataSource): readonly (readonly [typeof BaseEntity, DataSource])[] {
  return origin.entityMetadatas
    .map(({ target }) => target as typeof BaseEntity)
    .filter((target) => typeof target === 'function' && typeof target.useDataSource === 'function')
    .map((target) => [target, (target as unknown as { dataSource?: DataSource }).dataSource ?? origin] as const);
}
