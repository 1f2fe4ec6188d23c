import type { StoredStep } from '@stepping/core';

/** Written into every job, so that a later release can tell what it reads. */
const FORMAT_VERSION = 1;

/** A step of a stored job: args as a JSON value, undefined where there are none. */
export interface DecodedStep {
  readonly name: string;
  readonly queue: string;
  readonly args: unknown;
}

/** The text of `CreateJob.steps`. Args are JSON already and go in as they are. */
export function encodeSteps(steps: readonly StoredStep[]): string {
  const encoded = steps.map(({ name, queue, args }) => {
    const withArgs = args === undefined ? '' : `,"a":${args}`;
    const withQueue = queue === 'default' ? '' : `,"q":${JSON.stringify(queue)}`;
    return `{"n":${JSON.stringify(name)}${withArgs}${withQueue}}`;
  });
  return `{"v":${FORMAT_VERSION},"steps":[${encoded.join(',')}]}`;
}

/** The steps of a job that only says "rolled back" (R9). */
export const NO_STEPS = encodeSteps([]);

/** Reads {@link encodeSteps}. Throws on text that is no such thing, or is of a later format. */
export function decodeSteps(text: string): readonly DecodedStep[] {
  const stored = JSON.parse(text) as { v: number; steps: { n: string; a?: unknown; q?: string }[] };
  if (stored.v !== FORMAT_VERSION)
    throw new Error(`The steps are stored in format ${stored.v}; this release reads ${FORMAT_VERSION}. Run it with a newer one.`);
  return stored.steps.map(({ n, a, q }) => ({ name: n, queue: q ?? 'default', args: a }));
}
