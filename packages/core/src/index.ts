export { steppingStops, stepTimedOut } from './attempt-errors.js';
export { createStepping } from './create-stepping.js';
export type {
  DbProvider,
  DbRef,
  DbTransaction,
  InDoubtAnswer,
} from './db-transaction.js';
export type { EventEmitter, SteppingEvents } from './events.js';
export { assertGid, gidFrom, idempotencyKey, newGid } from './gid.js';
export type { DepsOf, Injectable, Injected, ParentContainer, Registry, Resolver, Token } from './injection.js';
export { token } from './injection.js';
export type { Job, JobBuilder, JobOptions, StartedJob, TransactionJob } from './job.js';
export type { JobFilter, JobInfo, JobStats, JobStatus, Jobs } from './jobs.js';
export type { JsonSafe } from './json.js';
export type { Logger } from './logger.js';
export { completeLogger, silentLogger } from './logger.js';
export { nodeHandler } from './node-handler.js';
export type { SteppingPlugin, TmPlugin, Use } from './plugin.js';
export { provide } from './plugin.js';
export type { ResolvedRetryPolicy } from './retry.js';
export { backoffMs, nextAttemptInMs } from './retry.js';
export type { Input, NoArgs, Output, Schema } from './schema.js';
export { unchecked } from './schema.js';
export type {
  AddArgs,
  AnyStep,
  ArgsOf,
  Known,
  NameOf,
  RetryPolicy,
  RunContext,
  Step,
  StepClass,
  StepContext,
  StepContract,
  StepHandler,
  StepOptions,
} from './step.js';
export { declareStep, defineStep, implementStep, step, stepName } from './step.js';
export type { LedgerAnswer, LedgerClaim, LedgerEnd, LedgerError, LedgerKey, LedgerRecord, StepLedger } from './step-ledger.js';
export type { StepScope } from './step-scope.js';
export { stepScopeOf } from './step-scope.js';
export type { Stepping, SteppingOptions } from './stepping.js';
export type { SteppingErrorCode, SteppingErrorDetails } from './stepping-error.js';
export { permanent, retryAfter, SteppingError } from './stepping-error.js';
export type { Attempt, Claim, RunnableStep } from './steps.js';
export { storedError } from './stored-error.js';
export { DbProviders, Events, Log, Steps, TransactionManager, TransactionScope } from './tokens.js';
export type { Enlisted, FoundJob, NewJob, StartAnswer, StoredStep } from './transaction-manager.js';
export type { BarrierKey } from './transaction-scope.js';
export type { Turns } from './turns.js';
export { turns } from './turns.js';
