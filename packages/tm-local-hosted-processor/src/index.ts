export { hostedProcessor } from './hosted-processor.js';
export type { ProcessorOptions } from './processor.js';
