import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { describe, expect, it } from '@jest/globals';
import { nodeArgsFor } from '@stepping/test-services';

const script = new URL('./signalled-process.ts', import.meta.url).pathname;

describe('a processor that handles signals', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)('lets the running step end on %s, and then the process ends by that signal', async (signal) => {
    const child = spawn(process.execPath, nodeArgsFor(script), { stdio: ['pipe', 'pipe', 'inherit'] });
    const exited = once(child, 'exit');
    const lines = createInterface(child.stdout)[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe('begun');
    child.kill(signal);
    // Still there: the step has not ended.
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(child.exitCode ?? child.signalCode).toBeNull();
    child.stdin.write('end\n');
    expect((await lines.next()).value).toBe('succeeded');
    expect(await exited).toEqual([null, signal]);
  });
});
