// Programs with a slip that TypeScript cannot see, and what meets them instead.
import { type AnyStep, createStepping, defineStep, type Logger } from '@stepping/core';
import { httpStep } from '@stepping/core/http';
import { localTm, memoryStore } from '@stepping/tm-local';
import pino from 'pino';
import { z } from 'zod';

const a = defineStep({ name: 'a', args: z.object({ a: z.string() }), run() {} });
const b = defineStep({ name: 'b', args: z.object({ b: z.string() }), run() {} });
const stepping = createStepping({ steps: [a], tm: localTm({ store: memoryStore() }) });
// A1 start() forgotten: there is no job.
stepping.createJob().addStep(a, { a: '1' });
// A2 a step that is not listed: STEP_UNKNOWN at addStep, before anything is written.
stepping.createJob().addStep(b, { b: '1' });
// A3 one of two steps with the args of the other: ARGS_INVALID at start().
stepping.createJob().addStep(Math.random() > 0.5 ? a : b, { b: '1' });
// A4 pino takes (fields, message): recognised by `bindings()` and swapped.
export const logger: Logger = pino();
// A5 a callback's result is not checked for unknown keys: `data` and `params` are refused by name, other words pass.
httpStep({ name: 'h', request: () => ({ url: 'http://x', payload: {} }) });
// A6 a misspelt filter: an empty list.
stepping.jobs.list({ step: 'aa' });
// A7 an untyped step: ARGS_INVALID at start().
stepping.createJob().addStep(a as AnyStep, 5);
