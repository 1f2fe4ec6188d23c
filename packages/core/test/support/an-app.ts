import {
  createStepping,
  defineStep,
  type Logger,
  type Stepping,
  type SteppingEvents,
  type SteppingOptions,
  unchecked,
} from '../../src/index.js';
import { BusinessDatabase } from './business-database.js';
import { MemoryTm } from './memory-tm.js';

export const sendMail = defineStep({ name: 'order.send-mail', args: unchecked<{ to: string }>(), run() {} });
export const close = defineStep({ name: 'order.close', run() {} });

/** Entries of a log, to look at. */
export class Recorder implements Logger {
  readonly entries: { level: string; message: string; fields: Record<string, unknown> }[] = [];
  readonly trace = this.#writer('trace');
  readonly debug = this.#writer('debug');
  readonly info = this.#writer('info');
  readonly warn = this.#writer('warn');
  readonly error = this.#writer('error');

  of(level: string): string[] {
    return this.entries.filter((entry) => entry.level === level).map(({ message }) => message);
  }

  #writer(level: string): (message: string, fields?: object) => void {
    return (message, fields = {}) => void this.entries.push({ level, message, fields: { ...fields } });
  }
}

export interface TestApp {
  readonly stepping: Stepping;
  readonly tm: MemoryTm;
  readonly database: BusinessDatabase;
  readonly log: Recorder;
  /** What was told, as `event gid`. */
  readonly told: string[];
}

const apps: Stepping[] = [];

/** A started app on a TM and a business database in memory. */
export async function anApp(options: { tm?: MemoryTm } & Partial<Omit<SteppingOptions, 'tm'>> = {}): Promise<TestApp> {
  const tm = options.tm ?? new MemoryTm();
  const database = new BusinessDatabase();
  const log = new Recorder();
  const stepping: Stepping = createStepping({
    steps: [sendMail, close],
    logger: log,
    ...options,
    tm: tm.plugin,
    use: [database.plugin, options.use],
  } as SteppingOptions);
  const told: string[] = [];
  for (const event of ['job.submitted', 'job.rolled-back', 'job.submit-deferred'] as const) {
    stepping.on(event, (payload: SteppingEvents[typeof event]) => told.push(`${event} ${payload.gid}`));
  }
  apps.push(stepping);
  await stepping.start();
  return { stepping, tm, database, log, told };
}

export async function stopApps(): Promise<void> {
  await Promise.all(apps.splice(0).map((stepping) => stepping.stop({ drainTimeoutMs: 0 })));
}

/** The error that `work` ends with; fails if it ends well. */
export async function errorOf(work: () => unknown): Promise<any> {
  try {
    await work();
  } catch (error) {
    return error;
  }
  throw new Error('It was expected to fail, but did not');
}
