/** Args of every step: about 100 bytes as JSON. */
export interface Payload {
  readonly id: number;
  readonly kind: string;
  readonly note: string;
}

export function payload(id: number): Payload {
  return { id, kind: 'bench', note: 'x'.repeat(64) };
}

/** Starts jobs. */
export interface Producer {
  /** One job of so many steps, each with the payload as its args. Resolves when it is durable. */
  enqueue(steps: 1 | 3, args: Payload): Promise<void>;
  close(): Promise<void>;
}

/** Runs jobs from the moment it is opened. */
export interface Worker {
  /** Whether the store still has a job that is not stored as finished. */
  hasUnfinished(): Promise<boolean>;
  close(): Promise<void>;
}

/** One way to keep jobs in a database and to run them. Each measurement has an empty database: its URL, or the path of a file. */
export interface Contestant {
  /** Makes the tables. */
  create(database: string): Promise<void>;
  openProducer(database: string): Promise<Producer>;
  /** `onStep` is called by every step's code: each is a no-op but for that. */
  openWorker(database: string, onStep: () => void): Promise<Worker>;
}
