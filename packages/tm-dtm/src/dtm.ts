import { DbProviders, Events, Log, type Resolver, SteppingError, Steps, type TmPlugin, TransactionManager, token } from '@stepping/core';
import { CallbackEndpoint } from './callback-endpoint.js';
import { type CallbackUrl, CallbackUrls, questionQueue } from './callback-urls.js';
import { DtmTransactionManager } from './dtm-transaction-manager.js';
import { HttpDtmServer } from './http-dtm-server.js';
import { JobReader } from './job-reader.js';
import { assertLedger } from './ledger-of-job.js';
import { CallbackServer, type ListenOptions } from './listen.js';
import { Messages } from './messages.js';
import { DtmOperations } from './operations.js';
import { wholeSeconds } from './seconds.js';
import { SelfTest } from './self-test.js';
import { Signatures } from './signatures.js';

/** What `dtm` takes. */
export type DtmOptions = CommonDtmOptions & (SignedDtmOptions | InsecureDtmOptions);

interface CommonDtmOptions {
  /** Of DTM's HTTP port: `http://dtm:36789`. A user name and password in it are sent to what stands before the server; DTM itself knows none. */
  readonly serverUrl: string | URL;
  /**
   * Where the server reaches {@link Stepping.handle} of this app, or of all its replicas behind one address. As a function: where it reaches the app that runs the steps of this queue; also
   * asked for `~db/<provider>/<name>`, and then an app that knows this database has to be there: one of those that start jobs in it.
   */
  readonly callbackUrl: CallbackUrl;
  /** For a process without an HTTP server: listens for callbacks itself. */
  readonly listen?: ListenOptions | undefined;
  /** How long the server waits until it comes back for a step that is not done, and until it asks for the first time what became of a transaction. Default 10 000. Unit: ms. */
  readonly retryIntervalMs?: number | undefined;
  /**
   * How long the server waits for the answer to a callback. A step that takes longer runs on, and the server comes back for its outcome after `retryIntervalMs`: so let it be longer than most
   * steps take, and short, since the server makes repeats one after another. Default 5 000. Unit: ms.
   */
  readonly requestTimeoutMs?: number | undefined;
  /** How old a prepared job is, to the second, before the server asks what became of its transaction: it looks after `retryIntervalMs`, then every 10 s. Default: `retryIntervalMs`. Unit: ms. */
  readonly prepareTimeoutMs?: number | undefined;
  /** `start()` and `submit()` wait for the first attempt of each step, for at most a minute. They succeed as they do without: when the job is stored. Default false. */
  readonly waitResult?: boolean | undefined;
}

interface SignedDtmOptions {
  /** Signs the callbacks; the same in all processes that share jobs. Several: the first one signs, all are accepted, so that a secret can be replaced while jobs are under way. */
  readonly secret: string | readonly string[];
  readonly insecure?: false | undefined;
}

interface InsecureDtmOptions {
  readonly secret?: undefined;
  /** Whoever reaches the callback URL can run steps with args of their own. */
  readonly insecure: true;
}

const DEFAULT_RETRY_INTERVAL_MS = 10_000;
const DEFAULT_REQUEST_TIMEOUT_MS = 5_000;
const DEFAULT_DRAIN_TIMEOUT_MS = 10_000;

/**
 * The transaction manager that is a server of its own, [DTM](https://github.com/dtm-labs/dtm): it keeps the jobs and calls this app, or one of its replicas, for each step.
 *
 * `stepping.start()` then throws {@link SteppingError} `STORE_UNAVAILABLE` if the server is not there, `STORE_REFUSED` if it is no DTM server or its certificate is not trusted, `CONFIG_INVALID`
 * if a step has `maxAttempts` and no database can count them.
 *
 * @throws {@link SteppingError} `CONFIG_INVALID`
 * @example createStepping({ steps, tm: dtm({ serverUrl: 'http://dtm:36789', callbackUrl: 'http://orders:8080/stepping', secret }) })
 */
export function dtm(options: DtmOptions): TmPlugin {
  const { serverUrl, callbackUrl, listen, waitResult = false } = options;
  const { retryIntervalMs = DEFAULT_RETRY_INTERVAL_MS, requestTimeoutMs = DEFAULT_REQUEST_TIMEOUT_MS } = options;
  const { prepareTimeoutMs = retryIntervalMs } = options;
  const retryInterval = wholeSeconds('retryIntervalMs', retryIntervalMs);
  const requestTimeout = wholeSeconds('requestTimeoutMs', requestTimeoutMs);
  const prepareTimeout = wholeSeconds('prepareTimeoutMs', prepareTimeoutMs);
  const server = checkedServerUrl(serverUrl);
  const signatures = new Signatures(checkedSecrets(options));
  const urls = new CallbackUrls(callbackUrl);
  const messages = new Messages(urls, signatures, {
    // DTM looks at it after `retry_interval`, and then every 10 s. Its stores round that time, and a look that comes a moment early would ask only at the next one.
    timeout_to_fail: Math.max(1, prepareTimeout - 1),
    retry_interval: retryInterval,
    request_timeout: requestTimeout,
    ...(waitResult ? { wait_result: true } : {}),
  });

  const Server = token<HttpDtmServer>('DtmServer');
  const Endpoint = token<CallbackEndpoint>('CallbackEndpoint');
  const Listener = token<CallbackServer | undefined>('CallbackServer');
  const Test = token<SelfTest>('SelfTest');
  return {
    name: 'tm-dtm',
    provides: 'tm',
    register(registry) {
      registry.provide(Server, () => new HttpDtmServer(server));
      registry.provide(
        Endpoint,
        (r) =>
          new CallbackEndpoint({
            ...appOf(r),
            server: r.resolve(Server),
            signatures,
            retryIntervalMs: retryInterval * 1_000,
            requestTimeoutMs: requestTimeout * 1_000,
          }),
      );
      registry.provide(
        Listener,
        (r) => listen && new CallbackServer(listen, (request) => r.resolve(Endpoint).handle(request), r.resolve(Log)),
      );
      registry.provide(Test, (r) => new SelfTest({ server: r.resolve(Server), messages, urls, log: r.resolve(Log) }));
      registry.provide(TransactionManager, (r) => {
        const app = { ...appOf(r), server: r.resolve(Server), messages };
        const reader = new JobReader(app);
        return new DtmTransactionManager({
          ...app,
          reader,
          endpoint: r.resolve(Endpoint),
          operations: new DtmOperations({ ...app, reader }),
          freshMs: Math.max(prepareTimeout, retryInterval) * 500,
        });
      });
    },
    async start(r) {
      assertLedger(r.resolve(DbProviders), r.resolve(Steps).bounded());
      const version = await versionOf(r.resolve(Server));
      r.resolve(Log).info('found a DTM server', { serverUrl: r.resolve(Server).url, version });
      await r.resolve(Listener)?.start();
      r.resolve(Test).start([...r.resolve(Steps).queues(), ...r.resolve(DbProviders).all().map(questionQueue)]);
    },
    quiesce(r) {
      r.resolve(Endpoint).quiesce();
    },
    async stop(r, { drainTimeoutMs = DEFAULT_DRAIN_TIMEOUT_MS }) {
      try {
        await Promise.all([r.resolve(Test).stop(), r.resolve(Endpoint).stop(drainTimeoutMs)]);
      } finally {
        await r.resolve(Listener)?.stop();
        r.resolve(Server).close();
      }
    },
  };
}

function appOf(r: Resolver) {
  return { steps: r.resolve(Steps), databases: r.resolve(DbProviders), events: r.resolve(Events), log: r.resolve(Log) };
}

/** Whatever keeps it from saying its version, nothing was written. */
async function versionOf(server: HttpDtmServer): Promise<string> {
  try {
    return await server.version();
  } catch (error) {
    if (SteppingError.is(error)) throw error;
    const text = error instanceof Error ? error.message : String(error);
    throw new SteppingError('STORE_UNAVAILABLE', `${text}. Start it, or mend serverUrl of dtm.`, { cause: error });
  }
}

function checkedServerUrl(given: string | URL): URL {
  const url = typeof given === 'string' || given instanceof URL ? URL.parse(String(given)) : null;
  if (url?.protocol === 'http:' || url?.protocol === 'https:') {
    if (isDecodable(url.username) && isDecodable(url.password)) return url;
    throw new SteppingError(
      'CONFIG_INVALID',
      'The user name or password in serverUrl of dtm has a % that begins no escape. Write it as %25 (encodeURIComponent does).',
      { option: 'serverUrl' },
    );
  }
  throw new SteppingError(
    'CONFIG_INVALID',
    `serverUrl of dtm is ${url ? `of scheme ${url.protocol}` : JSON.stringify(given)}, but it must be the http or https URL of a DTM server: http://host:36789.`,
    { option: 'serverUrl' },
  );
}

function isDecodable(text: string): boolean {
  try {
    decodeURIComponent(text);
    return true;
  } catch {
    return false;
  }
}

function checkedSecrets(options: DtmOptions): readonly string[] {
  const { secret, insecure } = options;
  if (secret === undefined && insecure === true) return [];
  const secrets = typeof secret === 'string' ? [secret] : secret;
  if (Array.isArray(secrets) && secrets.length > 0 && secrets.every((one) => typeof one === 'string' && one !== '')) return secrets;
  throw new SteppingError(
    'CONFIG_INVALID',
    secret === undefined
      ? 'dtm has no secret: whoever reaches the callback URL could run steps. Give it one, a long random text that all processes share, or say insecure: true where nobody else reaches it.'
      : 'secret of dtm must be a text that is not empty, or a list of such texts whose first one signs.',
    { option: 'secret' },
  );
}
