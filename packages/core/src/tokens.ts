import type { DbProviders as DbProvidersService } from './db-transaction.js';
import type { EventEmitter } from './events.js';
import { type Token, token } from './injection.js';
import type { Logger } from './logger.js';
import type { Steps as StepsService } from './steps.js';
import type { TransactionManager as TransactionManagerService } from './transaction-manager.js';
import type { TransactionScope as TransactionScopeService } from './transaction-scope.js';

// What packages ask of core, and core of the TM, through the container. Users need none of these.

/** Provided by the TM plugin. */
export const TransactionManager: Token<TransactionManagerService> = token<TransactionManagerService>('TransactionManager', {
  providedBy: 'a transaction manager as tm: of createStepping: localTm(…) of @stepping/tm-local, or dtm(…) of @stepping/tm-dtm',
});
export type TransactionManager = TransactionManagerService;
/** Provided by core; db plugins add theirs in `start`. */
export const DbProviders: Token<DbProvidersService> = token<DbProvidersService>('DbProviders');
export type DbProviders = DbProvidersService;
/** Provided by core. */
export const Events: Token<EventEmitter> = token<EventEmitter>('Events');
/** Provided by core. */
export const Steps: Token<StepsService> = token<StepsService>('Steps');
export type Steps = StepsService;
/** Provided by core: the app's logger, complete and safe. */
export const Log: Token<Required<Logger>> = token<Required<Logger>>('Log');
/** Provided by core. */
export const TransactionScope: Token<TransactionScopeService> = token<TransactionScopeService>('TransactionScope');
export type TransactionScope = TransactionScopeService;
