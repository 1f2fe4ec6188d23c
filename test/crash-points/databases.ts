import type { DbTransaction, JobBuilder, StepContext, Stepping, SteppingPlugin } from '@stepping/core';
import type { StorePlugin } from '@stepping/tm-local';

// What the enumeration asks of a database. A further kind is one more implementation of these.

/** A kind of database that a world can be made of. */
export interface DatabaseKind {
  /** A server, which may do what it was sent after its client is gone. A file is written by the process itself: what that does not do while it lives is not done later. */
  readonly isServer: boolean;
  /** Its driver runs a transaction again that the server has ended, and a commit is sent again while its outcome is unknown. */
  readonly repeats: boolean;
  /** A new, empty database. */
  open(label: string): Promise<Database>;
}

/** One real database, which several "processes" open. */
export interface Database {
  readonly jobs: Jobs;
  /** What a transaction manager elsewhere remembers of steps here. */
  readonly ledger: Pick<Jobs, 'clear' | 'makeDue'>;
  readonly business: Business;
  open(processName: string): Promise<ProcessDatabase>;
  close(): Promise<void>;
}

/** Jobs, as the harness itself sees them. */
export interface Jobs {
  clear(): Promise<void>;
  /** Its lease (this one, if given) ends, or its backoff, or the wait before its database is asked. */
  makeDue(gid: string, lease?: number): Promise<void>;
  /** A long time has passed since the end of all jobs. False: not now, a transaction is in the way. */
  age(): Promise<boolean>;
}

/** What business transactions do, as the harness itself sees it. */
export interface Business {
  /** Before any process starts. */
  setUp(): Promise<void>;
  /** Of barriers; deeds are told by their gids. */
  clear(): Promise<void>;
  /** A long time has passed since all barriers. False: not now, a transaction is in the way. */
  age(): Promise<boolean>;
  barriersOf(gid: string): Promise<number>;
  /** Committed ones: those whose ids begin with this gid and a slash. */
  deedsOf(gid: string): Promise<readonly string[]>;
}

/** A database as one process has it. */
export interface ProcessDatabase {
  storePlugin(): StorePlugin;
  dbPlugin(): SteppingPlugin;
  inTransaction(stepping: Stepping, body: Body): Promise<void>;
  /** A transaction that the user opens and ends, with the deed in it. */
  begin(deed: string): Promise<UsersTransaction>;
  /** Does the deed once, in a transaction of the step. */
  once(context: StepContext<any, any>, deed: string, through: OnceBoundary): Promise<void>;
  /** Statements end with a connection, and the transaction with it. Without one to lose, a statement fails and the transaction stays. */
  readonly hasConnections: boolean;
  /** Its owner has lost the connection at this call, and does not know what became of it; the server has not noticed yet. `handle`: what core knows as `native.handle`. */
  breakConnection(handle: unknown, call: string): Broken;
  /** Of a kind that repeats: the server ends this transaction, and says so when it is next asked. */
  endTransaction?(handle: unknown): Promise<void>;
  /** Of a kind that repeats: the driver says of the next commit of this transaction that its outcome is unknown. */
  losesCommit?(handle: unknown, how: 'done' | 'not done'): void;
  /** The operating system closes all connections of the process. */
  cut(): Promise<void>;
  close(): Promise<void>;
}

/** Of a transaction of ours. */
export interface Body {
  /** Undefined: one that is drawn. */
  readonly gid: string | undefined;
  readonly deed: string;
  /** Each time that it is run. */
  begins(): void;
  /** After the deed. */
  addSteps(job: JobBuilder): void;
}

export interface UsersTransaction {
  readonly handle: unknown;
  /** For `createJob`. */
  readonly transaction: DbTransaction;
  commit(): Promise<void>;
  rollback(): Promise<void>;
  /** As an application does at the end, whatever happened. */
  release(): Promise<void>;
}

/** A call on the connection of a transaction. */
export type OnHandle = <R>(real: () => Promise<R>, handle: unknown) => Promise<R>;

/** Where the work and the commit of an effect come by. */
export interface OnceBoundary {
  readonly work: OnHandle;
  readonly commit: OnHandle;
}

/** A transaction whose connection its owner has lost. */
export interface Broken {
  /** What the owner gets. */
  readonly error: Error;
  commit(): Promise<void>;
  /** As the server does when it notices. */
  end(): Promise<void>;
}
