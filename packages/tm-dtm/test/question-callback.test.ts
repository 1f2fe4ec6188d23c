import { afterEach, describe, expect, it } from '@jest/globals';
import type { InDoubtAnswer } from '@stepping/core';
import { anEndpoint, LEDGER_REF, stopApps, until } from './support/an-endpoint.js';

afterEach(stopApps);

describe('The question what became of a business transaction', () => {
  it.each([
    ['committed', 200, ['job.submitted']],
    ['rolled-back', 409, ['job.rolled-back']],
    ['unknown', 425, []],
  ] as const)('whose database says %s is answered %i', async (said, status, told) => {
    const app = await anEndpoint();
    app.database.answer = async () => said;
    expect(await app.question({ db: LEDGER_REF })).toBe(status);
    expect(app.told).toEqual(told);
  });

  it('of a job without one is answered 200: it was to be submitted in any case', async () => {
    const app = await anEndpoint();
    expect(await app.question({ tenant: 'acme' })).toBe(200);
    expect(app.events).toMatchObject([{ name: 'job.submitted', payload: { gid: 'order-1', tenant: 'acme' } }]);
    expect(app.database.questions).toBe(0);
  });

  it('about a database that this process does not have is not decided here: 425, and an error in the log', async () => {
    const app = await anEndpoint();
    expect(await app.question({ db: { provider: 'a-database', name: 'elsewhere' } })).toBe(425);
    expect(app.log).toMatchObject([{ level: 'error', fields: { gid: 'order-1', code: 'DB_UNKNOWN' } }]);
    expect(app.told).toEqual([]);
  });

  it('that a later release wrote is left to one: 425', async () => {
    const app = await anEndpoint();
    expect(await app.question({ v: 2 as 1, db: LEDGER_REF })).toBe(425);
    expect(app.database.questions).toBe(0);
  });

  it('that the database rejects, or does not answer as long as DTM waits, is not decided: 425', async () => {
    const app = await anEndpoint({ requestTimeoutMs: 50 });
    const { promise, resolve } = Promise.withResolvers<InDoubtAnswer>();
    app.database.answer = () => promise;
    expect(await app.question({ db: LEDGER_REF })).toBe(425);
    resolve('committed');
    await promise;
    expect(app.told).toEqual([]);
    app.database.answer = () => Promise.reject(new Error('a provider that keeps no promise'));
    expect(await app.question({ db: LEDGER_REF })).toBe(425);
    expect(app.told).toEqual([]);
  });

  it('holds at most two connections of one database: more are asked to come later, while others find a place', async () => {
    const app = await anEndpoint();
    const { promise, resolve } = Promise.withResolvers<InDoubtAnswer>();
    app.database.answer = () => promise;
    const asked = [app.question({ gid: 'a', db: LEDGER_REF }), app.question({ gid: 'b', db: LEDGER_REF })];
    await until(() => app.database.questions === 2);
    expect(await app.question({ gid: 'c', db: LEDGER_REF })).toBe(425);
    expect(app.database.questions).toBe(2);
    const ofTenant = app.question({ gid: 'd', db: { ...LEDGER_REF, tenant: 'acme' } });
    await until(() => app.database.questions === 3);
    resolve('committed');
    expect(await Promise.all([...asked, ofTenant])).toEqual([200, 200, 200]);
    expect(await app.question({ gid: 'c', db: LEDGER_REF })).toBe(200);
  });

  it('that is open for a minute is told of', async () => {
    const app = await anEndpoint();
    expect(await app.question({ db: LEDGER_REF, at: Date.now() - 59_000 })).toBe(425);
    expect(app.told).toEqual([]);
    expect(await app.question({ db: LEDGER_REF, at: Date.now() - 60_000 })).toBe(425);
    expect(app.told).toEqual(['job.prepared-too-long']);
    expect(app.log).toMatchObject([{ level: 'warn', fields: { gid: 'order-1' } }]);
  });

  it('is still answered while the app stops, since open transactions may finish', async () => {
    const app = await anEndpoint();
    const { promise, resolve } = Promise.withResolvers<InDoubtAnswer>();
    app.database.answer = () => promise;
    const first = app.question({ db: LEDGER_REF });
    await until(() => app.database.questions === 1);
    const stopped = app.stepping.stop({ drainTimeoutMs: 1_000 });
    resolve('committed');
    expect(await first).toBe(200);
    await stopped;
  });
});
