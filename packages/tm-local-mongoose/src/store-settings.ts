import type { Connection } from 'mongoose';

/** What a store was configured with. */
export interface StoreSettings {
  readonly connection: Connection;
  readonly collectionPrefix: string;
  /** Whether `start()` migrates; else it only checks. */
  readonly migrate: boolean;
}
