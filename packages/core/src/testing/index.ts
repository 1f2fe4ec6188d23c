export type { StartedTestJob, StepTestContext, StepUnderTest } from './run-step.js';
export { runStep } from './run-step.js';
