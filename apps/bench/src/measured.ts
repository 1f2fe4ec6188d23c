/** W1 to W7, and what is measured of Stepping alone. */
export type WorkloadName = 'W1' | 'W2' | 'W3' | 'W4' | 'W5' | 'W6' | 'W7' | 'claim' | 'idle' | 'memory' | 'cost';

/** What tables are made of: one for each of these and each workload. Redis has its place beside PostgreSQL. */
export type TableName = 'PostgreSQL' | 'MariaDB' | 'SQLite' | 'MongoDB';

/** One measurement: a line of the file of results. */
export interface Measured {
  /** When it began. */
  readonly at: string;
  readonly table: TableName;
  readonly workload: WorkloadName;
  /** Of the entry. */
  readonly name: string;
  /** Processes, rows beside, and the like, where a workload has several cases. */
  readonly case: string | undefined;
  readonly repetition: number;
  readonly values: Values;
  /** Why there are no values. */
  readonly error?: string;
}

/** By name; the tables say what they are and in which unit. */
export type Values = Readonly<Record<string, number>>;
