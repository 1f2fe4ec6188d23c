import { type ChildProcess, spawn } from 'node:child_process';
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** A process that the demo started and that said where it listens. */
export interface Server {
  readonly name: string;
  readonly url: string;
  /** Kills it with SIGKILL; resolves when it is dead. */
  kill(): Promise<void>;
  /** Asks it to end with SIGTERM. Rejects when it does not, or not cleanly. */
  stop(): Promise<void>;
}

export interface StartOptions {
  readonly name: string;
  /** Relative to the sources of the sample, without extension. */
  readonly script: string;
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** How long a server may take to listen; database servers make their data directory first. Unit: ms. */
const START_TIMEOUT_MS = 60_000;
/** How long a server may take to end by itself. Unit: ms. */
const STOP_TIMEOUT_MS = 20_000;

// Sources when run by a loader, JavaScript when built: the processes are whatever we are.
const extension = extname(import.meta.filename);
const preload = new URL(`./end-with-parent${extension}`, import.meta.url).href;

/** The processes of a demo. Their output goes to `<directory>/<name>.log`. */
export class Processes {
  readonly #directory: string;
  readonly #running = new Set<ChildProcess>();
  #ending: Promise<void> | undefined;
  readonly #unexpectedEnd = Promise.withResolvers<never>();

  constructor(directory: string) {
    this.#directory = directory;
    this.#unexpectedEnd.promise.catch(() => {}); // whoever waits for it is told
  }

  /** Rejects when a server ends that nobody ended. */
  get unexpectedEnd(): Promise<never> {
    return this.#unexpectedEnd.promise;
  }

  async start({ name, script, args = [], env = {} }: StartOptions): Promise<Server> {
    if (this.#ending) throw new Error(`${name} is not started any more: the demo ends.`);
    const path = fileURLToPath(new URL(`../${script}${extension}`, import.meta.url));
    const child = spawn(process.execPath, [...process.execArgv, '--import', preload, path, ...args], {
      env: { ...process.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
    });
    this.#running.add(child);
    const ended = new Promise<string>((resolve) => {
      // Not 'exit': its last words are to be heard, too.
      child.once('close', (code, signal) => {
        this.#running.delete(child);
        resolve(signal ?? `exit code ${code}`);
      });
    });
    let expected = false;
    const endNow = (signal: NodeJS.Signals) => {
      expected = true;
      child.kill(signal);
      return ended;
    };

    const url = await this.#listening(child, name, ended);
    void ended.then((how) => {
      if (!expected && !this.#ending) this.#unexpectedEnd.reject(new Error(`${name} ended by itself (${how}).\n${this.tail(name)}`));
    });
    return {
      name,
      url,
      kill: async () => void (await endNow('SIGKILL')),
      stop: async () => {
        const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
        const how = await endNow('SIGTERM');
        clearTimeout(timer);
        if (how !== 'exit code 0') throw new Error(`${name} did not stop cleanly after SIGTERM (${how}).\n${this.tail(name)}`);
      },
    };
  }

  /** Ends whatever still runs; nothing starts any more. */
  end(): Promise<void> {
    this.#ending ??= Promise.all(
      [...this.#running].map((child) => {
        const ended = new Promise((resolve) => child.once('close', resolve));
        child.kill('SIGTERM');
        const timer = setTimeout(() => child.kill('SIGKILL'), STOP_TIMEOUT_MS);
        return ended.then(() => clearTimeout(timer));
      }),
    ).then(() => {});
    return this.#ending;
  }

  /** The last lines that a process wrote. */
  tail(name: string): string {
    const file = this.#logFile(name);
    if (!existsSync(file)) return `${name} wrote nothing.`;
    return `The last lines of ${file}:\n${readFileSync(file, 'utf8').trimEnd().split('\n').slice(-30).join('\n')}`;
  }

  #logFile(name: string): string {
    return join(this.#directory, `${name}.log`);
  }

  async #listening(child: ChildProcess, name: string, ended: Promise<string>): Promise<string> {
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    let heard = '';
    for (const output of [child.stdout, child.stderr]) {
      output?.setEncoding('utf8').on('data', (text: string) => {
        appendFileSync(this.#logFile(name), text);
        if (heard === 'enough') return;
        heard += text;
        const url = /listening (?:on|at) ([a-z]+:\/\/[^\s"]+)/.exec(heard)?.[1];
        if (url === undefined) return;
        heard = 'enough';
        resolve(url);
      });
    }
    void ended.then((how) => {
      if (heard !== 'enough') reject(new Error(`${name} did not start (${how}).\n${this.tail(name)}`));
    });
    const timer = setTimeout(() => child.kill('SIGKILL'), START_TIMEOUT_MS);
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
    }
  }
}
