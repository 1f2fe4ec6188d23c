import { appendFileSync } from 'node:fs';
import type { Stepping } from '@stepping/core';

/** Appends a line to `file` at every start and end of a step. Not buffered, so that a killed process has told all that it did. */
export function logSteps(stepping: Stepping, file: string): void {
  const write = (entry: object) => appendFileSync(file, `${JSON.stringify({ at: Date.now(), pid: process.pid, ...entry })}\n`);
  stepping.on('step.started', ({ gid, step, stepIndex, attempt }) => write({ what: 'started', gid, step, stepIndex, attempt }));
  stepping.on('step.succeeded', ({ gid, step, stepIndex, attempt }) => write({ what: 'succeeded', gid, step, stepIndex, attempt }));
  stepping.on('step.failed', ({ gid, step, stepIndex, attempt, error }) =>
    write({ what: 'failed', gid, step, stepIndex, attempt, error: String(error) }),
  );
}
