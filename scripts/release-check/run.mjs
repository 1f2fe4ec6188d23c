import { spawn } from 'node:child_process';

/** A command that is still running then has hung. Unit: ms. */
const TIMEOUT_MS = 180_000;

/**
 * Runs a command to its end and resolves with its standard output. Rejects when it fails; `error.output` is what it printed.
 * A string is a line for the shell.
 */
export function run(command, { cwd, env = process.env }) {
  const [file, ...args] = typeof command === 'string' ? [command] : command;
  const shown = typeof command === 'string' ? command : command.join(' ');
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, {
      cwd,
      env,
      shell: typeof command === 'string',
      stdio: ['ignore', 'pipe', 'pipe'],
      timeout: TIMEOUT_MS,
    });
    let stdout = '';
    let all = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text;
      all += text;
    });
    child.stderr.setEncoding('utf8').on('data', (text) => {
      all += text;
    });
    child.on('error', reject);
    child.on('close', (code, signal) => {
      if (code === 0) resolve(stdout);
      else
        reject(
          Object.assign(new Error(`${shown} ended with ${signal ?? code}`), {
            output: `$ ${shown}   (ended with ${signal ?? code})\n${all}`,
          }),
        );
    });
  });
}
