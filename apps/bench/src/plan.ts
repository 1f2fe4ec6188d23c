import { ENTRIES, type Entry, isSelected } from './entries.js';
import type { TableName, Values, WorkloadName } from './measured.js';
import { CLAIM_CASES, claim } from './workloads/claim.js';
import { cost } from './workloads/cost.js';
import { drain } from './workloads/drain.js';
import { enqueue } from './workloads/enqueue.js';
import { idle } from './workloads/idle.js';
import { latency } from './workloads/latency.js';
import { pieces } from './workloads/pieces.js';
import type { Setting } from './workloads/setting.js';

/** Callers of W1, W4 and W7. */
const CALLERS = 16;
/** Jobs of W3 when it is only to be seen whether it works. */
const QUICK_JOBS = 10;
/** Processes of W6; with one it is W2. */
const PROCESSES = [2, 4];
/** Backlogs of the memory. */
const BACKLOGS = [10_000, 1_000_000] as const;
const QUICK_BACKLOGS = [1_000, 5_000] as const;
/** Steps of a job, and jobs started at once, of the cost. */
const COST_STEPS = [1, 3, 10];
const COST_TOGETHER = [1, 10, 100, 1_000];

interface Case {
  readonly name: string | undefined;
  measure(setting: Setting, size: number): Promise<Values>;
}

export interface Workload {
  readonly title: string;
  /** Each is measured by itself; most have one, without a name. */
  cases(quick: boolean): readonly Case[];
  /** More would tell nothing: it does not hang on what else the machine does. */
  readonly once?: true;
}

const oneCase = (measure: (setting: Setting, size: number) => Promise<Values>): Workload['cases'] => {
  return () => [{ name: undefined, measure }];
};
const spaced = (jobs: number) => jobs.toLocaleString('en-US').replaceAll(',', ' ');
const backlog = (setting: Setting, size: number) => Math.round(size * setting.scale);

export const WORKLOADS: Readonly<Record<WorkloadName, Workload>> = {
  W1: { title: `enqueue, ${CALLERS} callers, each waits until its job is durable`, cases: oneCase((setting) => enqueue(setting, CALLERS)) },
  W2: {
    title: 'one-step jobs drained, one process',
    cases: oneCase((setting, size) => drain(setting, { jobs: backlog(setting, size), steps: 1, processes: 1 })),
  },
  W3: {
    title: 'idle latency: from the start of a job until its step begins in another process',
    cases: oneCase((setting, size) => latency(setting, setting.quick ? QUICK_JOBS : size)),
  },
  W4: {
    title: `business row and job in one transaction, ${CALLERS} callers`,
    cases: oneCase((setting) => enqueue(setting, CALLERS)),
  },
  W5: {
    title: 'jobs of three durable steps drained, one process',
    cases: oneCase((setting, size) => drain(setting, { jobs: backlog(setting, size), steps: 3, processes: 1 })),
  },
  W6: {
    title: 'one-step jobs drained by several processes',
    cases: () =>
      PROCESSES.map((processes) => ({
        name: `${processes} processes`,
        // As many for each as W2 has: every process has its own code to compile first.
        measure: (setting, size) => drain(setting, { jobs: backlog(setting, size) * processes, steps: 1, processes }),
      })),
  },
  W7: {
    title: `business row in one database, job in another, ${CALLERS} callers`,
    cases: oneCase((setting) => enqueue(setting, CALLERS)),
  },
  claim: {
    title: 'one claim of 100 of 1 000 due jobs',
    cases: () => CLAIM_CASES.map((name) => ({ name, measure: (setting) => claim(setting, name) })),
  },
  idle: { title: 'what a process asks of the database that has nothing to do', cases: oneCase(idle), once: true },
  memory: {
    title: 'memory of a processor over a backlog',
    cases: (quick) => {
      const [few, many] = quick ? QUICK_BACKLOGS : BACKLOGS;
      const backlogOf = (jobs: number): Case => ({
        name: `${spaced(jobs)} jobs`,
        measure: (setting) => drain(setting, { jobs, steps: 1, processes: 1 }),
      });
      const inPieces: Case = {
        name: `${spaced(many)} jobs, ${spaced(few)} at a time`,
        measure: (setting) => pieces(setting, { jobs: many, together: few }),
      };
      return [backlogOf(few), backlogOf(many), inPieces];
    },
    once: true,
  },
  cost: {
    title: 'what a job costs from its start to its end, by its steps and by how many are started at once',
    cases: (quick) =>
      COST_STEPS.flatMap((steps) =>
        (quick ? COST_TOGETHER.slice(0, 2) : COST_TOGETHER).map((together) => ({
          name: `${steps} ${steps === 1 ? 'step' : 'steps'}, ${together} at once`,
          measure: (setting) => cost(setting, { steps, together }),
        })),
      ),
    once: true,
  },
};

export const WORKLOAD_NAMES = Object.keys(WORKLOADS) as WorkloadName[];
export const TABLE_NAMES: readonly TableName[] = ['PostgreSQL', 'MariaDB', 'SQLite', 'MongoDB'];

export interface Selection {
  readonly tables: readonly TableName[];
  readonly workloads: readonly WorkloadName[];
  readonly only: readonly string[];
}

/** Who takes part in a workload. */
export function entriesOf(table: TableName, workload: WorkloadName, { only }: Selection): readonly Entry[] {
  return ENTRIES.filter((entry) => entry.table === table && entry.workloads[workload] !== undefined && isSelected(entry, only));
}
