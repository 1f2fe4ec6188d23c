import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { afterAll, describe, it } from '@jest/globals';
import { type DtmServerProcess, startDtm, testService } from '@stepping/test-services';
import type { DatabaseKind } from '../databases.js';
import { mongodb } from '../mongoose-database.js';
import type { World } from '../process.js';
import { mariadb, postgres, sqlite } from '../sql-databases.js';
import { Stage, type Start, until } from '../stage.js';
import { Callbacks } from './callbacks.js';
import { DtmKeeper } from './keeper.js';

const dtm = await testService('dtm-own');
const KINDS: readonly { readonly name: string; readonly kind: DatabaseKind; readonly service?: Awaited<ReturnType<typeof testService>> }[] =
  [
    { name: 'SQLite', kind: sqlite },
    { name: 'PostgreSQL', kind: postgres, service: await testService('postgres') },
    { name: 'MariaDB', kind: mariadb, service: await testService('mariadb') },
    { name: 'MongoDB', kind: mongodb, service: await testService('mongodb') },
  ];
const TIMEOUT_MS = 120_000;

dtm.describe('A DTM server that is killed, with the business', () => {
  const closing: (() => Promise<unknown>)[] = [];
  afterAll(async () => {
    for (const close of closing.reverse()) await close();
  }, TIMEOUT_MS);

  for (const { name, kind, service } of KINDS) {
    (service?.describe ?? describe)(`in ${name},`, () => {
      it.concurrent(
        'at prepare, before the commit, at submit and in a step: the steps run if, and only if, the transaction committed, once',
        async () => {
          const app = await anApp(kind, closing);
          await killedAtPrepare(app);
          await killedBeforeTheCommit(app);
          await killedAtSubmit(app);
          await killedInAStep(app);
        },
        TIMEOUT_MS,
      );
    });
  }
});

interface App {
  readonly server: DtmServerProcess;
  /** A job of its own, of an app that goes on. */
  stage(inStepOne?: () => Promise<void>): Stage;
}

async function anApp(kind: DatabaseKind, closing: (() => Promise<unknown>)[]): Promise<App> {
  const [server, callbacks, database] = await Promise.all([startDtm(), Callbacks.listen(), kind.open(`server-down-${process.pid}`)]);
  closing.push(
    () => callbacks.close(),
    () => database.close(),
  );
  await database.business.setUp();
  let world: World;
  const keeper = new DtmKeeper(server.url, callbacks);
  const only = await keeper.start(`only-${process.pid}`, { store: database, business: database }, () => world);
  closing.push(() => only.stop());
  return {
    server,
    stage(inStepOne = async () => {}) {
      const gid = randomUUID();
      const behaviour: World['behaviour'] = async (step) => (step === 'one' ? inStepOne() : undefined);
      world = { gid, jobGid: gid, jobs: keeper.jobsIn(database), business: database.business, trace: [], behaviour };
      only.reset(undefined);
      only.claims = true;
      return new Stage(only, only, world, gid);
    },
  };
}

async function killedAtPrepare({ server, stage }: App): Promise<void> {
  const at = stage();
  const start = at.start(['one', 'two'], { tied: true });
  await server.kill();
  await at.inTransaction(at.a, start);
  await server.restart();
  assert.equal((start.error as { code?: string }).code, 'STORE_UNAVAILABLE');
  assert.equal(await at.committed(start), false);
  assert.equal(await at.row(), undefined);
}

async function killedBeforeTheCommit({ server, stage }: App): Promise<void> {
  for (const end of ['commit', 'rollback'] as const) {
    const at = stage();
    const start = at.start(['one', 'two'], { tied: true });
    const by = await at.byHand(at.a, start);
    await by.job.prepare();
    await server.kill();
    await by[end]();
    await by.held.release();
    // Its process is gone, too: nobody submits or aborts.
    await server.restart();
    await hasEnded(at, start, end === 'commit' ? 'succeeded' : 'rolled-back');
  }
}

async function killedAtSubmit({ server, stage }: App): Promise<void> {
  const at = stage();
  const start = at.start(['one', 'two'], { tied: true });
  const by = await at.byHand(at.a, start);
  await by.job.prepare();
  await by.commit();
  await server.kill();
  assert.equal(await by.job.submit(), 'submitted');
  await by.held.release();
  await server.restart();
  await hasEnded(at, start, 'succeeded');
}

async function killedInAStep({ server, stage }: App): Promise<void> {
  // Nobody is there who could hear that this step is done.
  const at = stage(() => server.kill());
  const start = at.start(['one', 'two'], { tied: true });
  await at.inTransaction(at.a, start);
  await until('the first step is done', () => at.world.trace.length === 2);
  await server.restart();
  await hasEnded(at, start, 'succeeded');
}

async function hasEnded(at: Stage, start: Start, status: 'succeeded' | 'rolled-back'): Promise<void> {
  await until(`the job has ${status}`, async () => (await at.row())?.status === status);
  assert.equal(await at.committed(start), status === 'succeeded');
  const begun = at.world.trace.flatMap(({ what, step }) => (what === 'begins' ? [step] : []));
  assert.deepEqual(begun, status === 'succeeded' ? ['one', 'two'] : []);
}
