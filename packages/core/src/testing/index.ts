export type { DbProviderHarness, OpenedTransaction } from './describe-db-provider.js';
export { describeDbProvider } from './describe-db-provider.js';
export type { StartedTestJob, StepTestContext, StepUnderTest } from './run-step.js';
export { runStep } from './run-step.js';
