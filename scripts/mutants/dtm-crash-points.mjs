// As in list.mjs: what only the enumeration of crash points on DTM comes by.

const dtm = (name) => `packages/tm-dtm/src/${name}`;

const CRASH_POINTS = 'test/crash-points/crash-points-on-dtm-and-sqlite.chaos.test.ts';
const ON_SQLITE = 'crash points on DTM, with the business in SQLite files,';

export const DTM_CRASH_POINT_MUTANTS = [
  {
    rule: 'DTM: dead steps',
    what: 'the message of a dead step is not stopped when its process died before it could do that',
    file: dtm('step-run.ts'),
    search: 'if (said.buried) await this.#tellBuried();\n        return this.#dead();',
    replace: 'if (said.buried) await this.#tellBuried();\n        return LATER_DOUBLED;',
    test: CRASH_POINTS,
    name: `${ON_SQLITE} a step that fails for good`,
  },
  {
    rule: 'DTM: redrive',
    what: 'a redrive that never came to the server is told as done',
    file: dtm('operations.ts'),
    search: 'if (stored === undefined) throw',
    replace: 'if (stored === undefined) return true;\n    if (stored === null) throw',
    test: CRASH_POINTS,
    name: `${ON_SQLITE} redrive`,
  },
  {
    rule: 'DTM: stop',
    what: 'an attempt that stop() has ended is counted',
    file: dtm('step-run.ts'),
    search: "if (this.#stopping && !SteppingError.is(error, 'STEP_PERMANENT')) {",
    replace: "if (!this.#stopping && SteppingError.is(error, 'NOT_STARTED')) {",
    test: CRASH_POINTS,
    name: `${ON_SQLITE} a process that stops in a step`,
  },
  {
    rule: 'R1 on DTM',
    what: 'a question that was not answered ends the job',
    file: dtm('question-callback.ts'),
    search: 'this.#tellIfTooLong(question);\n        return LATER;',
    replace: 'this.#tellIfTooLong(question);\n        return ROLLED_BACK;',
    test: CRASH_POINTS,
    name: `${ON_SQLITE} query-back after a commit`,
  },
];
