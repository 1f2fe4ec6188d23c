import {
  createStepping,
  type DbProvider,
  DbProviders,
  type DbTransaction,
  defineStep,
  type StepContext,
  type Stepping,
  type SteppingPlugin,
  type TmPlugin,
  unchecked,
} from '@stepping/core';
import { localTm, Store, type StoredJob, type StorePlugin, type TransactionStore } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { withServices } from '../with-services.js';
import { type Accident, ConnectionLost, ProcessDied } from './accidents.js';
import { ENLISTED, LEDGER, type Passage, PROVIDER, STORE, TRANSACTION, throughBoundary, UNHEARD } from './boundaries.js';
import type { Business, Database, Jobs, ProcessDatabase } from './databases.js';

/** Long: when a lease is over, or a prepared job is asked about, is what the harness says (`due_at`). Unit: ms. */
const NEVER_MS = 3_000_000;
export const LEASE_MS = 5_000;
export const SHORT_LEASE_MS = 600;

/** What steps leave behind, in the order in which it happened. */
export interface Trace {
  readonly what: 'begins' | 'ends' | 'cancelled';
  readonly start: string;
  readonly step: string;
}

const POLLS = new Set(['store.nextDueInMs', 'store.claimDue']);
const OF_NO_GID = new Set(['store.list', 'store.startPurge']);

/** How an accident comes about. */
interface Mishaps<R> {
  /** The caller hears nothing. */
  lost(how: 'done' | 'not done'): Promise<R>;
  /** The server ends the transaction. */
  ends?(): Promise<void> | undefined;
  /** The driver does not know what became of the next commit. */
  losesCommit?(how: 'done' | 'not done'): void;
}

/** A job as the harness looks at it. */
export interface SeenJob {
  readonly status: StoredJob['status'];
  /** The next one, from 0. */
  readonly step: number;
  /** How many steps it has. */
  readonly of: number;
  readonly attempt: number;
  readonly lease?: number;
}

/** What a run gives to its processes. */
export interface World {
  /** Of the run. */
  readonly gid: string;
  /** Of its job: the same, unless that was drawn. */
  jobGid: string;
  readonly jobs: Jobs;
  readonly business: Business;
  readonly trace: Trace[];
  /** How a step behaves in this run, beyond leaving its trace. */
  behaviour(step: string, context: StepContext<{ start: string }>, process: Process): Promise<void>;
}

/** `once` has one attempt. */
export const STEPS = ['one', 'two', 'once'] as const;
export type StepName = (typeof STEPS)[number];

/** An app in this Node process that can die, or sleep, at any call across a boundary, as a process of its own would. */
export class Process {
  readonly name: string;
  readonly steps: Record<StepName, ReturnType<typeof aStep>>;
  protected readonly world: () => World;
  /** Calls of this run, in order. */
  calls: string[] = [];
  accident: Accident | undefined;
  /** The accident has happened. */
  happened = false;
  dead = false;
  asleep = false;
  stopped = false;
  /** A processor that claims nothing is one that is not there yet. */
  claims = false;
  /** What lands later. */
  late: (() => Promise<unknown>) | undefined;
  onLate = () => {};
  death: Promise<void> = Promise.resolve();
  running = 0;
  stepping!: Stepping;
  business!: ProcessDatabase;
  #store!: TransactionStore;
  #storeDatabase!: ProcessDatabase;
  #counts = new Map<string, number>();
  #awake: Promise<void> = Promise.resolve();
  #wake = () => {};

  constructor(name: string, world: () => World) {
    this.name = name;
    this.world = world;
    this.steps = { one: aStep('one', this), two: aStep('two', this), once: aStep('once', this) };
  }

  static async start(
    name: string,
    databases: { store: Database; business: Database },
    world: () => World,
    leaseMs = LEASE_MS,
  ): Promise<Process> {
    const process = new Process(name, world);
    await process.open(databases);
    const tm = localTm({
      store: process.#storeThroughBoundary(process.#storeDatabase.storePlugin()),
      processor: hostedProcessor({ maxPollMs: 50, concurrency: 4 }),
      leaseMs,
      prepareTimeoutMs: NEVER_MS,
    });
    await process.startApp(tm);
    return process;
  }

  protected async open({ store, business }: { store: Database; business: Database }): Promise<void> {
    this.business = await business.open(this.name);
    this.#storeDatabase = store === business ? this.business : await store.open(this.name);
  }

  protected async startApp(tm: TmPlugin): Promise<void> {
    const stepping = createStepping({
      steps: Object.values(this.steps),
      tm,
      use: [this.#databaseThroughBoundary(this.business.dbPlugin())],
      logger: silent,
    });
    await stepping.start();
    this.stepping = this.#throughCreateJob(stepping);
  }

  async find(gid: string): Promise<SeenJob | undefined> {
    const row = await this.#store.find(gid);
    return row && { ...row, of: JSON.parse(row.steps).steps.length };
  }

  /** Forgets the run before. */
  reset(accident: Accident | undefined): void {
    this.calls = [];
    this.#counts = new Map();
    this.accident = accident;
    this.happened = false;
    this.late = undefined;
    this.claims = false;
  }

  /** Every call across a boundary comes by here. */
  readonly pass: Passage = async (call, real, args) => {
    await this.#awake;
    if (this.dead) throw new ProcessDied();
    if (!this.claims && POLLS.has(call)) return (call === 'store.claimDue' ? [] : new Map()) as never;
    if (!(await this.isOfThisRun(call, args))) return real();
    const lost = async () => {
      if (call in UNHEARD) return UNHEARD[call] as never;
      throw new ConnectionLost(`The connection broke at ${call}`);
    };
    return this.#meet(call, real, { lost });
  };

  /** A call in the user's own code. */
  async own<R>(call: string, real: () => Promise<R>, mishaps: Mishaps<R>): Promise<R> {
    await this.#awake;
    if (this.dead) throw new ProcessDied();
    return this.#meet(call, real, mishaps);
  }

  async #meet<R>(call: string, real: () => Promise<R>, { lost, ends, losesCommit }: Mishaps<R>): Promise<R> {
    const nth = (this.#counts.get(call) ?? 0) + 1;
    this.#counts.set(call, nth);
    this.calls.push(call);
    const { accident } = this;
    if (this.happened || accident?.call !== call || accident.nth !== nth) {
      const result = await real();
      await this.#awake;
      if (this.dead) throw new ProcessDied();
      return result;
    }
    this.happened = true;
    switch (accident.kind) {
      case 'crash before':
        return this.die();
      case 'crash after':
        await real().catch(() => {});
        return this.die();
      case 'answer lost':
        await real();
        return lost('done');
      case 'not done':
        return lost('not done');
      case 'lands during recovery':
      case 'lands at the end':
        this.late = real;
        this.onLate();
        return lost('not done');
      case 'sleeps':
      case 'sleeps past the purge':
        this.sleep();
        await this.#awake;
        return real();
      case 'ended by the server':
        await ends?.();
        return real();
      case 'commit sent again':
      case 'done commit sent again':
        losesCommit?.(accident.kind === 'commit sent again' ? 'not done' : 'done');
        return real();
    }
  }

  async die(): Promise<never> {
    this.dead = true;
    this.death = (async () => {
      for (const database of this.#databases) await database.cut();
    })();
    await this.death;
    throw new ProcessDied();
  }

  sleep(): void {
    this.asleep = true;
    this.#awake = new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  wake(): void {
    this.asleep = false;
    this.#wake();
  }

  async stop(): Promise<void> {
    this.stopped = true;
    this.wake();
    await this.stepping.stop({ drainTimeoutMs: 0 }).catch(() => {});
    for (const database of this.#databases) await database.close();
  }

  get #databases(): ReadonlySet<ProcessDatabase> {
    return new Set([this.business, this.#storeDatabase]);
  }

  /** One step: leaves its trace, then does what the run says. */
  async run(step: StepName, context: StepContext<{ start: string }>): Promise<void> {
    const { start } = context.args;
    this.running++;
    try {
      const { trace, behaviour } = this.world();
      await this.own(
        `step.${step}`,
        async () => {
          trace.push({ what: 'begins', start, step });
          await behaviour(step, context, this);
          if (this.dead) throw new ProcessDied();
          trace.push({ what: 'ends', start, step });
        },
        {
          lost: async () => {
            throw new Error(`Step ${step} has an accident`);
          },
        },
      );
    } finally {
      this.running--;
    }
  }

  /** The user's open transaction, as core sees it. */
  transaction(inner: DbTransaction): DbTransaction {
    return throughBoundary('transaction', inner, TRANSACTION, (call, real) => this.onConnection(call, real, inner.native.handle));
  }

  /** A call on the connection of a transaction: when it is not heard, the connection is gone, and with it the transaction. */
  onConnection<R>(call: string, real: () => Promise<R>, handle: unknown): Promise<R> {
    const { business } = this;
    const isCommit = call.endsWith('.commit');
    const lands = this.accident?.kind.startsWith('lands') && isCommit;
    const lost = async (how: 'done' | 'not done') => {
      // Where there is no connection to lose, one of ours rolls back what its runner did not commit; here that is done for those whose `commit` does not get that far.
      if (!business.hasConnections && !(isCommit && how === 'not done' && call !== 'once.commit')) {
        throw new ConnectionLost(`The connection broke at ${call}`);
      }
      const broken = business.breakConnection(handle, call);
      if (lands) this.late = () => broken.commit();
      else await broken.end();
      throw broken.error;
    };
    const ends = () => business.endTransaction?.(handle);
    return this.own(call, real, { lost, ends, losesCommit: (how) => business.losesCommit?.(handle, how) });
  }

  /** An effect of a step, once: the deed of this id. */
  effect(context: StepContext<{ start: string }>, deed: string): Promise<void> {
    return this.business.once(context, deed, {
      work: (real, handle) => this.onConnection('once.work', real, handle),
      commit: (real, handle) => this.onConnection('once.commit', real, handle),
    });
  }

  /** Not of a run before, that is not quite over yet; and no claim that finds nothing. */
  protected async isOfThisRun(call: string, args: readonly unknown[]): Promise<boolean> {
    if (call === 'store.nextDueInMs') return false;
    if (call === 'store.claimDue') {
      const { queue } = args[0] as { queue: string };
      const dueInMs = (await this.#store.nextDueInMs([queue])).get(queue);
      return dueInMs !== undefined && dueInMs <= 0;
    }
    return OF_NO_GID.has(call) || JSON.stringify(args).includes(this.world().gid);
  }

  #storeThroughBoundary(inner: StorePlugin): StorePlugin {
    return withServices(inner, (made, injectable) => {
      if (injectable !== Store) return made;
      this.#store = made as TransactionStore;
      return this.#wrapStore(this.#store);
    });
  }

  #wrapStore(store: TransactionStore): TransactionStore {
    const wrapped = throughBoundary('store', store, STORE, this.pass);
    return new Proxy(wrapped, {
      get: (target, member) => {
        if (member !== 'enlist') return target[member as keyof TransactionStore];
        return (native: Parameters<NonNullable<TransactionStore['enlist']>>[0]) => {
          const enlisted = store.enlist?.(native);
          return enlisted && throughBoundary('enlisted', enlisted, ENLISTED, (call, real) => this.onConnection(call, real, native.handle));
        };
      },
    });
  }

  #databaseThroughBoundary(inner: SteppingPlugin): SteppingPlugin {
    const wrapped = new WeakMap<object, DbProviders>();
    const resolver = (r: Parameters<NonNullable<SteppingPlugin['start']>>[0]) => ({
      resolve: (injectable: any): any => {
        const made = r.resolve<any>(injectable);
        if (injectable !== (DbProviders as unknown)) return made;
        const known =
          wrapped.get(made) ??
          ({
            add: (provider) => made.add(this.#wrapProvider(provider)),
            find: (ref) => made.find(ref),
            all: () => made.all(),
          } satisfies DbProviders);
        wrapped.set(made, known);
        return known;
      },
    });
    return {
      ...inner,
      start: (r) => inner.start?.(resolver(r)),
      migrate: (r, options) => inner.migrate?.(resolver(r), options),
      stop: (r, options) => inner.stop?.(resolver(r), options),
    };
  }

  #wrapProvider(provider: DbProvider): DbProvider {
    const wrapped = throughBoundary('db', provider, PROVIDER, this.pass, { beyond: true });
    const ledger = provider.ledger && throughBoundary('ledger', provider.ledger, LEDGER, this.pass);
    return new Proxy(wrapped, { get: (target, member) => (member === 'ledger' ? ledger : target[member as keyof DbProvider]) });
  }

  /** The app, with every transaction that a job is tied to going through the boundary: also those that `inTransaction` opens. */
  #throughCreateJob(stepping: Stepping): Stepping {
    return new Proxy(stepping, {
      get: (target, member) => {
        const value = Reflect.get(target, member, target) as unknown;
        if (typeof value !== 'function') return value;
        if (member !== 'createJob') return value.bind(target);
        return (options: { gid?: string; transaction?: DbTransaction } = {}) => {
          const { transaction } = options;
          const job = target.createJob({ ...options, ...(transaction ? { transaction: this.transaction(transaction) } : {}) });
          if (options.gid === undefined) this.world().jobGid = job.gid;
          return job;
        };
      },
    });
  }
}

function aStep<N extends StepName>(name: N, process: Process) {
  return defineStep({
    name,
    args: unchecked<{ start: string }>(),
    retry: { minDelayMs: 1, maxDelayMs: 5, ...(name === 'once' ? { maxAttempts: 1 } : {}) },
    run: (context) => process.run(name, context as never),
  });
}

const nothing = () => {};
const silent = { trace: nothing, debug: nothing, info: nothing, warn: nothing, error: nothing };
