import { createServer, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  type AnyStep,
  createStepping,
  defineStep,
  type Logger,
  nodeHandler,
  provide,
  type Stepping,
  type SteppingEvents,
  type SteppingOptions,
  type Use,
  unchecked,
} from '@stepping/core';
import { type DtmOptions, dtm } from '@stepping/tm-dtm';
import { Clock, systemClock } from '@stepping/tm-local';

export const SECRET = 'a secret of the tests';

/** An app whose jobs are on a real DTM server, which calls it back over HTTP. */
export interface DtmApp {
  readonly stepping: Stepping;
  readonly callbackUrl: string;
  /** What {@link note} ran, as `gid:n`. */
  readonly ran: readonly string[];
  /** Events, as `name gid`, in order. */
  readonly told: readonly string[];
  readonly log: readonly { readonly level: string; readonly message: string; readonly fields: any }[];
  /** Callbacks that came in: their kind and the path and query. */
  readonly callbacks: readonly { readonly kind: string; readonly url: string }[];
  stop(): Promise<void>;
}

interface DtmAppOptions {
  readonly serverUrl: string;
  readonly steps?: readonly AnyStep[];
  readonly use?: Use;
  readonly retry?: SteppingOptions['retry'];
  readonly dtm?: Partial<DtmOptions>;
  /** Stands before the app; true: it has answered. */
  readonly before?: (...callback: Parameters<RequestListener>) => boolean;
}

/** A step that notes that it ran. It is a contract of every app of these tests. */
export const note = defineStep({
  name: 'note',
  args: unchecked<{ n: number }>(),
  inject: {},
  run: ({ gid, args }) => void notes.push({ gid, n: args.n }),
});

const notes: { readonly gid: string; readonly n: number }[] = [];
const apps: DtmApp[] = [];

/** To be called after each test. */
export async function stopDtmApps(): Promise<void> {
  await Promise.all(apps.splice(0).map((app) => app.stop()));
}

/** Not started: `await app.stepping.start()` is the test's. DTM comes back each second. */
export async function newDtmApp(options: DtmAppOptions): Promise<DtmApp> {
  const told: string[] = [];
  const log: { level: string; message: string; fields: any }[] = [];
  const callbacks: { kind: string; url: string }[] = [];
  let serve: RequestListener = (_, response) => void response.writeHead(503).end();
  const server = createServer((request, response) => {
    const url = request.url ?? '';
    callbacks.push({ kind: new URL(url, 'http://x').searchParams.get('stepping') ?? '', url });
    if (!options.before?.(request, response)) serve(request, response);
  });
  const callbackUrl = `http://127.0.0.1:${await listen(server)}/stepping`;
  const defaults = { serverUrl: options.serverUrl, callbackUrl, secret: SECRET, retryIntervalMs: 1_000 };
  const stepping = createStepping({
    steps: options.steps ?? [note],
    tm: dtm({ ...defaults, ...options.dtm } as DtmOptions),
    use: [provide(Clock, () => systemClock), options.use],
    logger: noting(log),
    retry: options.retry ?? { minDelayMs: 100 },
  });
  serve = nodeHandler(stepping);
  for (const event of EVENTS) stepping.on(event, (payload) => void told.push(`${event} ${(payload as { gid: string }).gid}`));
  const from = notes.length;
  const app: DtmApp = {
    stepping,
    callbackUrl,
    get ran() {
      return notes.slice(from).map(({ gid, n }) => `${gid}:${n}`);
    },
    told,
    log,
    callbacks,
    async stop() {
      if (!server.listening) return;
      await stepping.stop({ drainTimeoutMs: 500 });
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
  apps.push(app);
  return app;
}

export async function aDtmApp(options: DtmAppOptions): Promise<DtmApp> {
  const app = await newDtmApp(options);
  await app.stepping.start();
  return app;
}

const EVENTS: readonly (keyof SteppingEvents)[] = [
  'job.submitted',
  'job.rolled-back',
  'job.succeeded',
  'job.failed',
  'job.submit-deferred',
  'step.failed',
];

/** Waits for a condition, and says what it was when it does not come. */
export async function until(what: string, holds: () => boolean | Promise<boolean>, timeoutMs = 50_000): Promise<void> {
  for (const end = performance.now() + timeoutMs; !(await holds()); ) {
    if (performance.now() > end) throw new Error(`${what}: not within ${timeoutMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

function noting(log: { level: string; message: string; fields: any }[]): Logger {
  const at =
    (level: string) =>
    (message: string, fields: object = {}) =>
      void log.push({ level, message, fields });
  return { trace: at('trace'), debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') };
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return (server.address() as AddressInfo).port;
}
