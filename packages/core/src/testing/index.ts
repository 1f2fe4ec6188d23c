export type { DbProviderHarness, OpenedTransaction } from './describe-db-provider.js';
export { describeDbProvider } from './describe-db-provider.js';
export type {
  HeldTestTransaction,
  TestScope,
  TransactionManagerHarness,
  TransactionManagerLimit,
  Write,
} from './describe-transaction-manager.js';
export { describeTransactionManager } from './describe-transaction-manager.js';
export type { StartedTestJob, StepTestContext, StepUnderTest } from './run-step.js';
export { runStep } from './run-step.js';
