import { type ChildProcess, spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { nodeArgsFor } from '@stepping/test-services';

/** A script of the sample in a process of its own. */
export interface Running {
  /** Where it said that it listens. */
  readonly url: string;
  /** What it wrote so far. */
  output(): string;
  /** Ends it with SIGTERM; resolves to its exit code. */
  stop(): Promise<number | null>;
  kill(): Promise<void>;
}

/** Runs a script, given relative to this folder, until its end. */
export async function runScript(
  script: string,
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<{ exitCode: number | null; output: string }> {
  const { output, ended } = spawnScript(script, args, env);
  return { exitCode: await ended, output: output() };
}

/** Starts a server of the sample; resolves when it listens. */
export async function startScript(script: string, args: readonly string[], env: Record<string, string> = {}): Promise<Running> {
  const { child, output, ended } = spawnScript(script, args, env);
  const url = await new Promise<string>((resolve, reject) => {
    const look = () => {
      const found = /listening (?:on|at) ([a-z]+:\/\/[^\s"]+)/.exec(output())?.[1];
      if (found !== undefined) resolve(found);
    };
    child.stdout?.on('data', look);
    void ended.then((code) => reject(new Error(`${script} ended with exit code ${code}:\n${output()}`)));
  });
  const end = (signal: NodeJS.Signals) => {
    child.kill(signal);
    return ended;
  };
  return { url, output, stop: () => end('SIGTERM'), kill: async () => void (await end('SIGKILL')) };
}

/** A script of the sample as a child process; `ended` resolves to its exit code. */
export function spawnScript(script: string, args: readonly string[], env: Record<string, string>) {
  const path = fileURLToPath(new URL(script, import.meta.url));
  // Jest's own flags are not for the processes of the sample.
  const { NODE_OPTIONS: _, ...inherited } = process.env;
  const child: ChildProcess = spawn(process.execPath, [...nodeArgsFor(path), ...args], {
    env: { ...inherited, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.setEncoding('utf8').on('data', (text: string) => {
      output += text;
    });
  const ended = new Promise<number | null>((resolve) => void child.once('close', (code) => resolve(code)));
  return { child, output: () => output, ended };
}
