import type { Measured, TableName, Values, WorkloadName } from '../measured.js';

/** All repetitions of one row of a table. */
export interface Series {
  readonly name: string;
  readonly case: string | undefined;
  /** By repetition; those that failed are missing. */
  readonly values: ReadonlyMap<number, Values>;
  readonly errors: readonly string[];
}

/** The rows of one workload on one database, in the order in which they were measured. */
export function seriesOf(measured: readonly Measured[], table: TableName, workload: WorkloadName): readonly Series[] {
  const rows = new Map<string, Measured[]>();
  for (const one of measured) {
    if (one.table !== table || one.workload !== workload) continue;
    const key = JSON.stringify([one.name, one.case]);
    const row = rows.get(key);
    if (row === undefined) rows.set(key, [one]);
    else row.push(one);
  }
  return [...rows.values()].map((row) => {
    const [{ name, case: itsCase }] = row as [Measured];
    return {
      name,
      case: itsCase,
      values: new Map(row.filter(({ error }) => error === undefined).map(({ repetition, values }) => [repetition, values])),
      errors: row.flatMap(({ error }) => error ?? []),
    };
  });
}

/** One figure of a row, of every repetition that has it. */
export function figures({ values }: Series, key: string): number[] {
  return [...values.values()].flatMap((one) => one[key] ?? []);
}

export function label({ name, case: itsCase }: Pick<Series, 'name' | 'case'>): string {
  return itsCase === undefined ? name : `${name}, ${itsCase}`;
}
