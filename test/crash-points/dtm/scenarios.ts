import { permanent } from '@stepping/core';
import {
  AFTER_START,
  BESIDE_STEPS,
  failed,
  failsInSetUp,
  PREPARE_ON_DTM,
  RUN_BOTH_ON_DTM,
  redriven,
  runOnDtm,
  SCENARIOS,
  type Scenario,
  verb,
} from '../scenarios.js';
import { type Stage, until } from '../stage.js';

/** What is of consequence only where a server keeps the jobs and calls back. */
const OF_DTM: readonly Scenario[] = [
  {
    name: 'start in a transaction of ours, of a gid that is drawn',
    pointsOnDtm: BESIDE_STEPS,
    // Nobody else can have it, so nobody is asked whose it is.
    calls: { dtm: ['transaction.insertBarrier', 'server.prepare', 'transaction.commit', 'server.submit', ...RUN_BOTH_ON_DTM] },
    act: (stage) => stage.inTransaction(stage.a, stage.start(['one', 'two'], { tied: true, drawn: true })),
    async check({ a: { accident }, starts: [start] }) {
      if (accident?.kind === 'ended by the server' && start?.told !== 'yes')
        throw new Error(`What the driver mends was told: ${start?.error}`);
    },
  },
  {
    name: 'plain start of a gid that is drawn',
    pointsOnDtm: BESIDE_STEPS,
    calls: { dtm: ['server.prepare', 'server.submit', ...RUN_BOTH_ON_DTM] },
    act: (stage) => stage.plainStart(stage.a, stage.start(['one', 'two'], { tied: false, drawn: true })),
  },
  {
    name: 'plain start of a gid that exists',
    calls: { dtm: PREPARE_ON_DTM },
    async setUp(stage) {
      stage.b.claims = true;
      await stage.plainStart(stage.b, stage.start(['one', 'two'], { tied: false, id: 'first' }));
      await until('the first job has ended', async () => (await stage.row())?.status === 'succeeded');
      stage.b.claims = false;
    },
    async act(stage) {
      const start = stage.start(['one', 'two'], { tied: false, id: 'second' });
      await stage.plainStart(stage.a, start);
      if (start.told === 'yes') throw new Error('The second start was told that it is no duplicate');
    },
  },
  {
    name: 'a step that fails for good',
    pointsOnDtm: AFTER_START,
    // The second stop is the look whether the first one stayed.
    calls: { dtm: [...PREPARE_ON_DTM, 'server.submit', ...runOnDtm('one'), 'server.forceStop', 'server.forceStop'] },
    async act(stage) {
      const { a } = stage;
      await stage.plainStart(a, stage.start(['one', 'two'], { tied: false }));
      const stops = () => a.calls.filter((call) => call === 'server.forceStop').length;
      if (!a.accident || a.accident.call === 'server.forceStop') await until('it was stopped twice', () => a.happened || stops() === 2);
    },
    async behaviour() {
      throw permanent('there is no such account');
    },
    ends: ['failed', undefined],
    async check({ world }) {
      if (world.trace.some(({ step }) => step === 'two')) throw new Error('A step after a dead one was begun');
    },
  },
  {
    name: 'a process that stops in a step',
    pointsOnDtm: AFTER_START,
    calls: { dtm: [...PREPARE_ON_DTM, 'server.submit', ...runOnDtm('once')] },
    async act(stage) {
      const { a, world } = stage;
      await stage.plainStart(a, stage.start(['once'], { tied: false }));
      await until('the step runs, or was hindered', () => a.happened || world.trace.length > 0);
      a.claims = false;
      await a.stepping.stop({ drainTimeoutMs: 0 });
      a.stopped = true;
      stage.b.claims = true;
    },
    async behaviour({ a }, _step, { signal }, process) {
      if (process !== a) return;
      if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
      throw signal.reason;
    },
    // Its one attempt is handed back uncounted, unless that was not to be heard.
    ends: ['succeeded', 'failed', undefined],
    async check(stage) {
      if (!stage.a.accident && (await stage.row())?.status !== 'succeeded') throw new Error('An attempt that was handed back was counted');
    },
  },
  {
    name: 'a step longer than the server waits, and than its lease',
    pointsOnDtm: /^ledger\.extend/,
    calls: { dtm: [...PREPARE_ON_DTM, 'server.submit', ...runOnDtm('one', 'ledger.extend'), ...runOnDtm('two')] },
    act: (stage) => stage.plainStart(stage.a, stage.start(['one', 'two'], { tied: false })),
    async behaviour({ a }, step, _context, process) {
      if (process === a && step === 'one') await until('its lease is renewed', () => a.happened || a.calls.includes('ledger.extend'));
    },
  },
  {
    name: 'redrive of all on DTM',
    pointsOnDtm: BESIDE_STEPS,
    calls: {
      dtm: [
        'server.all',
        'server.query',
        'server.query',
        'ledger.read',
        'server.prepare',
        'server.query',
        'server.submit',
        ...RUN_BOTH_ON_DTM,
      ],
    },
    setUp: failed,
    act: (stage) => verb(stage, 'redrive', () => redriveAllOf(stage)),
    behaviour: failsInSetUp,
    ends: ['succeeded', 'failed', undefined],
    check: redriven,
  },
];

/** Of this run: there are failed jobs of former ones, too. */
async function redriveAllOf({ a, startedAt }: Stage): Promise<void> {
  const { redriven: count } = await a.stepping.jobs.redriveAll({ createdAfter: new Date(startedAt - 1) });
  if (count !== 1) throw new Error(`${count} jobs were redriven`);
}

export const DTM_SCENARIOS: readonly Scenario[] = [...SCENARIOS, ...OF_DTM].filter(({ calls }) => calls.dtm);
