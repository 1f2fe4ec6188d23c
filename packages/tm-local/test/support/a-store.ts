import { type ClaimedJob, type CreateJob, type Save, Store, type StorePlugin, type TransactionStore } from '@stepping/tm-local';

/** The store that a plugin provides, as the container would get it. */
export function storeOf(plugin: StorePlugin): TransactionStore {
  let store: TransactionStore | undefined;
  plugin.register?.({
    provide(token, factory) {
      if ((token as unknown) === Store) store = factory({ resolve: () => fail() }) as TransactionStore;
    },
  });
  return store ?? fail();
}

function fail(): never {
  throw new Error('The plugin registers no store, or asks for something of the container');
}

/** A job that is due now, unless told otherwise. */
export function aJob(job: Partial<CreateJob> & { gid: string }): CreateJob {
  return {
    instance: `instance-of-${job.gid}`,
    status: 'submitted',
    queue: 'default',
    tenant: undefined,
    db: undefined,
    steps: '{"v":1,"steps":[{"n":"first"},{"n":"second"}]}',
    lease: 1,
    held: false,
    dueInMs: 0,
    ...job,
  };
}

/** A claim of everything that is due in the default queue. */
export function aClaim(claim: Partial<{ queue: string; limit: number; leaseMs: number }> = {}) {
  return { queue: 'default', limit: 1_000, leaseMs: 10_000, ...claim };
}

/** A write of a lease holder. */
export function aSave({ gid, lease }: Pick<ClaimedJob, 'gid' | 'lease'>, save: Partial<Save>): Save {
  return {
    gid,
    lease,
    step: 0,
    attempt: 1,
    status: 'submitted',
    giveUp: false,
    dueInMs: undefined,
    queue: undefined,
    error: undefined,
    ...save,
  };
}
