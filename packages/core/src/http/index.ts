export type { HttpMethod, HttpQuery, HttpRequest } from './http-request.js';
export type { HttpStepOptions } from './http-step.js';
export { httpStep } from './http-step.js';
export type { HttpOutcome } from './outcome.js';
