import { type DbProvider, DbProviders, type DbRef, type DbTransaction, type InDoubtAnswer, type SteppingPlugin } from '../../src/index.js';

type Verb = 'insertBarrier' | 'deleteBarrier' | 'rollback' | 'close';

/** The error of a driver: ours must never wrap it. */
export class DriverError extends Error {
  override readonly name = 'DriverError';
}

/** A business database in memory, as the contracts `DbProvider` and `DbTransaction` see one: barriers that a transaction holds until it ends. */
export class BusinessDatabase implements DbProvider {
  readonly provider = 'memory';
  readonly name: string;
  /** Committed barriers: `gid/instance` → reason. */
  readonly barriers = new Map<string, 'msg' | 'rollback'>();
  readonly open = new Set<BusinessTransaction>();
  /** Nobody can ask it anything. */
  isDown = false;
  readonly migrated: (string | undefined)[] = [];

  constructor(name = 'default') {
    this.name = name;
  }

  get plugin(): SteppingPlugin {
    return {
      name: `business-database ${this.name}`,
      requires: [DbProviders],
      start: (r) => r.resolve(DbProviders).add(this),
      migrate: async (_, { tenant }) => this.migrate({ tenant }),
    };
  }

  begin(options: { owned?: boolean; tenant?: string; handle?: object } = {}): BusinessTransaction {
    const transaction = new BusinessTransaction(this, options);
    this.open.add(transaction);
    return transaction;
  }

  async resolveInDoubt(gid: string, instance: string): Promise<InDoubtAnswer> {
    const key = `${gid}/${instance}`;
    if (this.isDown || [...this.open].some((transaction) => transaction.inserted.has(key))) return 'unknown';
    if (!this.barriers.has(key)) this.barriers.set(key, 'rollback');
    return this.barriers.get(key) === 'msg' ? 'committed' : 'rolled-back';
  }

  async hasCommitted(gid: string, instance: string): Promise<boolean> {
    if (this.isDown) throw new DriverError('the database is down');
    return this.barriers.get(`${gid}/${instance}`) === 'msg';
  }

  async purgeBarriers(): Promise<void> {}

  async migrate({ tenant }: { tenant?: string | undefined }): Promise<void> {
    this.migrated.push(tenant);
  }
}

export class BusinessTransaction implements DbTransaction {
  /** Every call, in order. */
  readonly calls: (Verb | 'commit')[] = [];
  readonly inserted = new Set<string>();
  readonly native: { kind: string; handle: object };
  readonly commit?: () => Promise<void>;
  readonly #database: BusinessDatabase;
  readonly #tenant: string | undefined;
  readonly #failures = new Map<Verb, unknown>();
  readonly #work: (() => void)[] = [];
  #active = true;
  /** What becomes of `commit()`. `unheard-…`: the connection is lost; what the server made of it. */
  commitWill: 'work' | 'be-refused' | 'unheard-committed' | 'unheard-rolled-back' | 'unheard-undecided' = 'work';
  refError: unknown;

  constructor(database: BusinessDatabase, { owned = true, tenant, handle = {} }: { owned?: boolean; tenant?: string; handle?: object }) {
    this.#database = database;
    this.#tenant = tenant;
    this.native = { kind: 'memory', handle };
    if (owned) this.commit = () => this.#commit();
  }

  get isOpenOnServer(): boolean {
    return this.#database.open.has(this);
  }

  async ref(): Promise<DbRef> {
    if (this.refError) throw this.refError;
    const { provider, name } = this.#database;
    return this.#tenant === undefined ? { provider, name } : { provider, name, tenant: this.#tenant };
  }

  isActive(): boolean {
    return this.#active;
  }

  fail(verb: Verb, error: unknown = new DriverError(`${verb} failed`)): void {
    this.#failures.set(verb, error);
  }

  /** Work of an enlisted store that takes effect with the commit. */
  onCommit(work: () => void): void {
    this.#work.push(work);
  }

  async insertBarrier(gid: string, instance: string): Promise<boolean> {
    this.#call('insertBarrier');
    const key = `${gid}/${instance}`;
    if (this.#database.barriers.has(key) || this.inserted.has(key)) return false;
    this.inserted.add(key);
    return true;
  }

  async deleteBarrier(gid: string, instance: string): Promise<void> {
    this.#call('deleteBarrier');
    this.inserted.delete(`${gid}/${instance}`);
  }

  async rollback(): Promise<void> {
    this.#call('rollback');
    this.#end('rolled-back');
  }

  async close(): Promise<void> {
    this.#call('close');
    this.#end('rolled-back');
  }

  commitOutcome(error: unknown): 'not-committed' | 'unknown' {
    return error instanceof DriverError && error.message.startsWith('refused') ? 'not-committed' : 'unknown';
  }

  /** As the user's own code would commit. */
  async userCommits(): Promise<void> {
    this.#end('committed');
  }

  /** The server ends a transaction of which the client knows nothing any more. */
  serverEnds(how: 'committed' | 'rolled-back'): void {
    this.#end(how);
  }

  async #commit(): Promise<void> {
    this.calls.push('commit');
    switch (this.commitWill) {
      case 'work':
        return this.#end('committed');
      case 'be-refused':
        throw new DriverError('refused: a deferred constraint');
      case 'unheard-committed':
        this.#end('committed');
        break;
      case 'unheard-rolled-back':
        this.#end('rolled-back');
        break;
      case 'unheard-undecided':
        this.#active = false;
    }
    throw new DriverError('connection lost');
  }

  #call(verb: Verb): void {
    this.calls.push(verb);
    if (this.#failures.has(verb)) throw this.#failures.get(verb);
  }

  #end(how: 'committed' | 'rolled-back'): void {
    this.#active = false;
    this.#database.open.delete(this);
    if (how === 'rolled-back') return;
    for (const key of this.inserted) this.#database.barriers.set(key, 'msg');
    for (const work of this.#work) work();
  }
}
