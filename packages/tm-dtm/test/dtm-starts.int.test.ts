import { afterEach, expect, it } from '@jest/globals';
import { newGid, SteppingError, TransactionManager } from '@stepping/core';
import { testService } from '@stepping/test-services';
import { aDtmApp, newDtmApp, note, stopDtmApps, until } from './support/dtm-app.js';
import { cutLines, Line } from './support/line.js';

const dtm = await testService('dtm');
const serverUrl = dtm.available ? await dtm.database() : '';
afterEach(stopDtmApps);
afterEach(cutLines);

async function onALine() {
  const line = await Line.to(serverUrl);
  const app = await aDtmApp({ serverUrl: line.url });
  const start = (gid?: string) => app.stepping.createJob({ gid }).addStep(note, { n: 1 }).addStep(note, { n: 2 }).start();
  const ends = (gid: string) => app.stepping.jobs.wait(gid, { timeoutMs: 50_000 });
  /** Without the self-test. */
  const arrived = (verb: string) => line.arrived.filter((one) => one === verb).length - (verb === 'submit' ? selfTests() : 0);
  const selfTests = () => app.callbacks.filter(({ kind }) => kind === 'self-test').length;
  // It would be counted before it is called back.
  await until('the self-test is over', () => selfTests() > 0);
  return { line, app, start, ends, arrived };
}

/** The job as the TM gets it. */
const aJob = (gid: string) => ({
  gid,
  instance: newGid(),
  drawn: false,
  tenant: undefined,
  db: undefined,
  steps: [{ name: 'note', queue: 'default', args: '{"n":1}' }],
});

dtm.describe('a job without a transaction, on DTM', () => {
  it('is prepared, submitted, and runs step after step', async () => {
    const { line, app, start, ends } = await onALine();
    const { gid, status, duplicate } = await start();
    expect({ status, duplicate }).toEqual({ status: 'submitted', duplicate: false });
    await expect(ends(gid)).resolves.toMatchObject({ gid, status: 'succeeded', step: 2 });
    expect(app.ran).toEqual([`${gid}:1`, `${gid}:2`]);
    expect([...app.told].sort()).toEqual([`job.submitted ${gid}`, `job.succeeded ${gid}`].sort());
    // Nobody else can have a gid that was drawn, so nothing is read back.
    expect(line.arrived.slice(line.arrived.indexOf('prepare'), line.arrived.indexOf('prepare') + 2)).toEqual(['prepare', 'submit']);
  });

  it('runs once when the answer to its prepare, or to its submit, is lost', async () => {
    const { line, app, start, ends, arrived } = await onALine();
    line.once('prepare', 'answer');
    line.once('submit', 'answer');
    const { gid } = await start();
    await expect(ends(gid)).resolves.toMatchObject({ status: 'succeeded' });
    expect(app.ran).toEqual([`${gid}:1`, `${gid}:2`]);
    expect([...app.told].sort()).toEqual([`job.submitted ${gid}`, `job.succeeded ${gid}`].sort());
    expect(arrived('prepare')).toBe(2);
    expect(arrived('submit')).toBe(1);
  });

  it('is not submitted a second time when the query-back was there before the answer to its prepare', async () => {
    const { line, app, start, ends, arrived } = await onALine();
    for (let lost = 0; lost < 6; lost++) line.once('prepare', 'answer');
    const { gid } = await start();
    await expect(ends(gid)).resolves.toMatchObject({ status: 'succeeded' });
    expect(app.ran).toEqual([`${gid}:1`, `${gid}:2`]);
    expect(arrived('prepare')).toBe(7);
    expect(arrived('submit')).toBe(0);
  });

  it('is sent again when its prepare, or its submit, never came to the server', async () => {
    const { line, app, start, ends, arrived } = await onALine();
    line.once('prepare', 'request');
    line.once('submit', 'request');
    const { gid } = await start();
    await expect(ends(gid)).resolves.toMatchObject({ status: 'succeeded' });
    expect(app.ran).toEqual([`${gid}:1`, `${gid}:2`]);
    expect(arrived('prepare')).toBe(1);
    expect(arrived('submit')).toBe(1);
  });

  it('runs by the query-back when its submit never comes through: stored is stored', async () => {
    const { line, app, start, ends, arrived } = await onALine();
    line.always('submit', 'request');
    const { gid, status } = await start();
    expect(status).toBe('submitted');
    // It runs in any case, so nobody sees it prepared.
    await expect(app.stepping.jobs.find(gid)).resolves.toMatchObject({ status: 'submitted', attempt: 1, step: 0 });
    await expect(ends(gid)).resolves.toMatchObject({ status: 'succeeded' });
    expect(app.ran).toEqual([`${gid}:1`, `${gid}:2`]);
    expect(arrived('submit')).toBe(0);
  });

  it('is not stored when the server is gone, and says so; and in doubt when nobody heard what became of it', async () => {
    const { line: gone, app: nobody, start: toNobody } = await onALine();
    const { line: mute, app, start, ends } = await onALine();
    await gone.cut();
    await until('the app has seen that its connections are gone', async () => {
      const seen = await nobody.stepping.jobs.find(newGid()).catch((error: unknown) => error);
      return SteppingError.is(seen, 'STORE_UNAVAILABLE');
    });
    mute.always('prepare', 'answer');
    const gid = newGid();
    const [nothing, doubt] = await Promise.all([toNobody().catch((error: unknown) => error), start(gid).catch((error: unknown) => error)]);
    expect(nothing).toMatchObject({ code: 'STORE_UNAVAILABLE', message: expect.stringContaining(gone.url) });
    expect(doubt).toMatchObject({ code: 'START_OUTCOME_UNKNOWN', message: expect.stringContaining(gid) });
    mute.heal();
    // It was stored. A repeat under its gid tells, and does not run it twice.
    await ends(gid);
    await expect(start(gid)).resolves.toEqual({ gid, status: 'succeeded', duplicate: true });
    expect(app.ran).toEqual([`${gid}:1`, `${gid}:2`]);
  });

  it('waits for the first attempts of its steps with waitResult, and succeeds also when they do not', async () => {
    let refuses = false;
    const app = await aDtmApp({
      serverUrl,
      dtm: { waitResult: true },
      before: (request, response) => {
        if (!refuses || !request.url?.includes('stepping=step')) return false;
        response.writeHead(500).end();
        return true;
      },
    });
    const ran = await app.stepping.createJob().addStep(note, { n: 1 }).start();
    expect(app.ran).toEqual([`${ran.gid}:1`]);
    refuses = true;
    const { gid } = await app.stepping.createJob().addStep(note, { n: 2 }).start();
    await expect(app.stepping.jobs.find(gid)).resolves.toMatchObject({ status: 'submitted' });
    refuses = false;
    await expect(app.stepping.jobs.wait(gid, { timeoutMs: 50_000 })).resolves.toMatchObject({ status: 'succeeded' });
  });
});

dtm.describe('a gid that the user chose, on DTM', () => {
  it('may be any, also one that begins with another one: each runs all its steps', async () => {
    const { app, start, ends } = await onALine();
    const order = newGid().slice(-12);
    const gids = [`${order}`, `${order}0`, `${order}-a`, order.toUpperCase(), 'x'.repeat(100) + order];
    await Promise.all(gids.map((gid) => start(gid)));
    for (const gid of gids) await expect(ends(gid)).resolves.toMatchObject({ gid, status: 'succeeded' });
    expect([...app.ran].sort()).toEqual(gids.flatMap((gid) => [`${gid}:1`, `${gid}:2`]).sort());
  });

  it('that was started before is a duplicate, by its status then', async () => {
    const { app, start, ends } = await onALine();
    const gid = `order-${newGid()}`;
    await expect(start(gid)).resolves.toMatchObject({ status: 'submitted', duplicate: false });
    await ends(gid);
    await expect(start(gid)).resolves.toEqual({ gid, status: 'succeeded', duplicate: true });
    expect(app.ran).toEqual([`${gid}:1`, `${gid}:2`]);
  });

  it('that another start has prepared without a transaction is a duplicate: it runs in any case', async () => {
    const { line, app, start, ends } = await onALine();
    const gid = `order-${newGid()}`;
    line.always('submit', 'request');
    await start(gid);
    await expect(start(gid)).resolves.toEqual({ gid, status: 'submitted', duplicate: true });
    line.heal();
    await expect(ends(gid)).resolves.toMatchObject({ status: 'succeeded' });
    expect(app.ran).toEqual([`${gid}:1`, `${gid}:2`]);
  });

  it('is not taken for stored when it cannot be read back', async () => {
    const { line, app, start, arrived } = await onALine();
    const gid = `order-${newGid()}`;
    line.once('query', 'answer');
    await start(gid);
    expect(arrived('prepare')).toBe(2);
    const tm = app.stepping.resolve(TransactionManager);
    line.once('query', 'request');
    const error = await tm.prepare(aJob(`order-${newGid()}`)).catch((thrown: unknown) => thrown);
    // Not STORE_UNAVAILABLE, which says that nothing was written.
    expect(SteppingError.is(error)).toBe(false);
    expect(error).toMatchObject({ message: expect.stringContaining('cannot be read') });
  });

  it('whose message is of another app is refused', async () => {
    const { start } = await onALine();
    const other = await aDtmApp({ serverUrl, dtm: { secret: 'of another app' } });
    const gid = `order-${newGid()}`;
    await other.stepping.createJob({ gid }).addStep(note, { n: 7 }).start();
    await expect(start(gid)).rejects.toMatchObject({ code: 'JOB_STATUS', message: expect.stringContaining('another app') });
  });
});

dtm.describe('The secret of callbacks', () => {
  it('can be replaced while jobs are under way', async () => {
    const former = await aDtmApp({ serverUrl, dtm: { secret: 'old' }, before: (_, response) => Boolean(response.writeHead(503).end()) });
    const { gid } = await former.stepping.createJob().addStep(note, { n: 1 }).start();
    await former.stepping.stop();
    // The server goes on calling the URL that it has.
    const { callbackUrl } = former;
    await former.stop();
    const next = await newDtmApp({
      serverUrl,
      dtm: { secret: ['new', 'old'], callbackUrl, listen: { port: Number(new URL(callbackUrl).port) } },
    });
    await next.stepping.start();
    await expect(next.stepping.jobs.wait(gid, { timeoutMs: 50_000 })).resolves.toMatchObject({ status: 'succeeded' });
    expect(next.ran).toEqual([`${gid}:1`]);
  });

  it('may be missing where that was asked for', async () => {
    const app = await aDtmApp({ serverUrl, dtm: { secret: undefined, insecure: true } });
    const { gid } = await app.stepping
      .createJob({ gid: `order-${newGid()}` })
      .addStep(note, { n: 1 })
      .start();
    await expect(app.stepping.jobs.wait(gid, { timeoutMs: 50_000 })).resolves.toMatchObject({ status: 'succeeded' });
  });
});
