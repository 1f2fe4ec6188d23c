import { type BindingApp, BoundJob } from './bound-job.js';
import { checkInteger, refuse } from './check-options.js';
import { Container } from './container.js';
import { KnownDbProviders } from './db-providers.js';
import type { DbTransaction } from './db-transaction.js';
import { Emitter } from './event-emitter.js';
import { describeInjectable, type Token } from './injection.js';
import type { JobOptions } from './job.js';
import { JobsApi } from './jobs-api.js';
import { Lifecycle } from './lifecycle.js';
import { completeLogger, type Logger, silentLogger } from './logger.js';
import { PlainJob, type StartingApp } from './plain-job.js';
import type { SteppingPlugin, TmPlugin, Use } from './plugin.js';
import { Startup } from './startup.js';
import type { AnyStep, NameOf } from './step.js';
import type { Stepping, SteppingOptions } from './stepping.js';
import { SteppingError } from './stepping-error.js';
import { StepsRegistry } from './steps-registry.js';
import { DbProviders, Events, Log, Steps, TransactionManager, TransactionScope } from './tokens.js';

const DEFAULT_MAX_ARGS_BYTES = 262_144;

/**
 * Wires steps, a transaction manager and modules into an app. Nothing is connected or written before `start()` (or `migrate()`).
 *
 * @throws {@link SteppingError} `CONFIG_INVALID`, `STEP_DUPLICATE`, `STEP_UNKNOWN` (something in `steps` is no step), `PLUGIN_MISSING` (no `tm`).
 * @example
 * const stepping = createStepping({ steps: [sendOrderEmail], tm: localTm({ store: memoryStore() }) });
 * await stepping.start();
 * await stepping.createJob().addStep(sendOrderEmail, { orderId }).start();
 */
export function createStepping<const S extends readonly AnyStep[] = readonly []>(options: SteppingOptions<S>): Stepping<NameOf<S[number]>> {
  const { tm: tmPlugin, steps = [], use = [], container: parent, retry, maxArgsBytes = DEFAULT_MAX_ARGS_BYTES } = options;
  checkTm(tmPlugin);
  checkInteger('maxArgsBytes', maxArgsBytes, { min: 1 });
  const used = flatten(use);
  const plugins = [...used, tmPlugin];
  const logger = appLogger(options.logger);
  const lifecycle = new Lifecycle();
  const events = new Emitter(logger);
  const databases = new KnownDbProviders();
  const container = new Container(parent);
  const stepsHere: StepsRegistry = new StepsRegistry(steps, {
    retry,
    lifecycle,
    logger,
    databases,
    createJob: (jobOptions) => new PlainJob(jobOptions, app),
  });

  let tm: TransactionManager | undefined;
  let warnedNotTied = false;
  const app: StartingApp & BindingApp = {
    lifecycle,
    events,
    databases,
    logger,
    maxArgsBytes,
    resolver: container,
    isListed: (name) => stepsHere.has(name),
    get tm() {
      tm ??= container.resolve(TransactionManager);
      return tm;
    },
    warnNotTied(gid) {
      if (warnedNotTied) return;
      warnedNotTied = true;
      logger.warn(
        'A job was started by createJob().start() inside inTransaction: it runs even if that transaction rolls back. Add its steps to the `job` that the body receives. (Said once.)',
        { gid },
      );
    },
  };

  container.provide(Log, () => logger);
  container.provide(Events, () => events);
  container.provide(DbProviders, () => databases);
  container.provide(Steps, () => stepsHere);
  container.provide(TransactionScope, () => ({
    async run(work) {
      lifecycle.assertTakesWork('A business transaction');
      return lifecycle.runTransaction(work);
    },
    barrierOf: (job) => (job as BoundJob).barrier,
  }));
  // The TM first, so that `use` can replace any service of it; it is started last all the same.
  for (const plugin of [tmPlugin, ...used]) plugin.register?.(container);

  const startup = new Startup({ plugins, container, lifecycle, logger, connect: () => connect(plugins, container, stepsHere) });
  const stepping: Stepping = {
    start: () => startup.start(),
    stop: (stopOptions = {}) => startup.stop(stopOptions),
    [Symbol.asyncDispose]: () => startup.stop({}),
    migrate: ({ tenant } = {}) => startup.migrate(tenant),
    createJob: ((jobOptions: JobOptions & { transaction?: DbTransaction | undefined } = {}) =>
      jobOptions.transaction
        ? new BoundJob(jobOptions, jobOptions.transaction, app)
        : new PlainJob(jobOptions, app)) as Stepping['createJob'],
    jobs: new JobsApi(events, (what) => {
      lifecycle.assertServes(what);
      return app.tm;
    }),
    resolve: (token) => container.resolve(token),
    on: (event, listener) => events.on(event, listener),
    async handle(request) {
      const { tm } = app;
      if (!tm.handle) return new Response(null, { status: 404 });
      if (!lifecycle.serves) return new Response(null, { status: 503 });
      return tm.handle(request);
    },
  };
  return stepping as Stepping<NameOf<S[number]>>;
}

function checkTm(tm: TmPlugin | undefined): void {
  if (tm?.provides === 'tm') return;
  throw new SteppingError(
    'PLUGIN_MISSING',
    `createStepping needs a transaction manager as tm, but got ${tm === undefined ? 'none' : JSON.stringify((tm as SteppingPlugin).name ?? tm)}. Pass localTm({ store }) of @stepping/tm-local, or dtm({ … }) of @stepping/tm-dtm.`,
  );
}

function flatten(use: readonly Use[]): SteppingPlugin[] {
  return use.flatMap((one) => {
    if (!one) return [];
    if (Array.isArray(one)) return flatten(one);
    const plugin = one as SteppingPlugin & { readonly provides?: string };
    if (typeof plugin !== 'object' || typeof plugin.name !== 'string')
      refuse('An entry of use', plugin, 'a plugin, an array of plugins, or false');
    if (plugin.provides !== undefined) {
      const place = plugin.provides === 'tm' ? 'tm: of createStepping' : `${plugin.provides}: of localTm({ … })`;
      throw new SteppingError('CONFIG_INVALID', `${plugin.name} is in use: […], where nothing asks for it. Its place is ${place}.`, {
        plugin: plugin.name,
      });
    }
    return [plugin];
  });
}

function appLogger(logger: Logger | undefined): Required<Logger> {
  if (logger === undefined) return silentLogger;
  for (const level of ['trace', 'debug', 'info', 'warn', 'error'] as const) {
    if (typeof logger?.[level] !== 'function') refuse(`logger.${level}`, logger?.[level], 'a function; console and pino fit as they are');
  }
  return completeLogger(logger);
}

/** The wiring, checked before anything starts. */
function connect(plugins: readonly SteppingPlugin[], container: Container, steps: StepsRegistry): void {
  for (const plugin of plugins)
    for (const required of plugin.requires ?? []) if (!container.knows(required)) throw pluginMissing(plugin.name, required);
  if (!container.knows(TransactionManager)) throw pluginMissing('createStepping', TransactionManager);
  steps.connect(container);
}

function pluginMissing(asker: string, required: Token<unknown>): SteppingError<'PLUGIN_MISSING'> {
  const name = describeInjectable(required);
  const remedy = required.providedBy
    ? `Add ${required.providedBy}`
    : `Add the plugin that provides it, or provide(${name}, () => …), to use: […] of createStepping`;
  return new SteppingError('PLUGIN_MISSING', `${asker} needs ${name}, and no plugin provides it. ${remedy}.`, {
    plugin: asker,
    missing: name,
  });
}
