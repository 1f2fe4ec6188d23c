export type { DbPluginOptions, DrivenDbProvider } from './db-plugin.js';
export { DEFAULT_RETENTION_MS, dbPlugin } from './db-plugin.js';
export { ledgerOver } from './ledger-over.js';
export type { BoundedClaim, HeldKey, LedgerEntry, LedgerRow, LedgerTable } from './ledger-table.js';
export type { SweepOptions, SweptBarriers } from './sweep.js';
export { sweepBarriers, sweepLedger } from './sweep.js';
export { within } from './within.js';
