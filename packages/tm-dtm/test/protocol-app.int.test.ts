import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import { afterEach, expect, it } from '@jest/globals';
import { DbProviders, defineStep, newGid, retryAfter, unchecked } from '@stepping/core';
import { inTransaction, typeormDb, typeormTransaction } from '@stepping/db-typeorm';
import { startDtm, testService } from '@stepping/test-services';
import { dtm } from '@stepping/tm-dtm';
import { DataSource } from 'typeorm';
import { openWire } from '../../db-typeorm/test/support/cut-commit.js';
import { DtmApi } from './support/dtm-api.js';
import { aDtmApp, type DtmApp, note, SECRET, stopDtmApps, until } from './support/dtm-app.js';

// The protocol tests that are about a client: ours, with orders in PostgreSQL. The others are in protocol.int.test.ts. Where the list has the prepare first and the transaction then (19, 20, 23) it is
// restated for us, whose barrier comes first.

const service = await testService('dtm-own');
const postgres = await testService('postgres');
const server = service.available ? await startDtm() : undefined;
const serverUrl = server?.url ?? '';
const api = new DtmApi(serverUrl);

const closing: (() => unknown)[] = [];
afterEach(async () => {
  await stopDtmApps();
  for (const close of closing.splice(0).reverse()) await close();
});

async function connected(url: string): Promise<DataSource> {
  const dataSource = await new DataSource({ type: 'postgres', url }).initialize();
  closing.push(() => dataSource.destroy());
  return dataSource;
}

/** An app with orders in a database of its own. `looking`: the same database, beside the app. */
async function aShop(options: Partial<Parameters<typeof aDtmApp>[0]> = {}) {
  const looking = await connected(await postgres.database());
  await looking.query('create table orders (gid text not null)');
  const wire = await openWire((looking.options as { url: string }).url);
  closing.push(() => wire.close());
  const dataSource = await connected(wire.url);
  const app = await aDtmApp({ serverUrl, use: typeormDb({ dataSource }), ...options });
  return { app, wire, dataSource, ...shopOf(app, dataSource, looking) };
}

function shopOf(app: DtmApp, dataSource: DataSource, looking: DataSource) {
  return {
    looking,
    order: (gid: string, body: () => unknown = () => {}) =>
      inTransaction(app.stepping, { dataSource, gid }, async ({ manager, job }) => {
        await manager.query('insert into orders values ($1)', [gid]);
        job.addStep(note, { n: 1 }).addStep(note, { n: 2 });
        await body();
      }),
    /** A transaction in the user's hands, whose job is prepared. */
    async prepared(gid: string) {
      const runner = dataSource.createQueryRunner();
      closing.push(() => runner.release());
      await runner.startTransaction();
      await runner.query('insert into orders values ($1)', [gid]);
      const job = app.stepping.createJob({ gid, transaction: typeormTransaction(runner) }).addStep(note, { n: 1 });
      await job.prepare();
      return { runner, job };
    },
    orders: async (gid: string): Promise<number> => (await looking.query('select 1 from orders where gid = $1', [gid])).length,
    barriers: (gid: string): Promise<object[]> =>
      looking.query("select branch_id, op, barrier_id, reason from stepping_barrier where gid = $1 and op = 'msg'", [gid]),
  };
}

/** What the message of this gid asks about. */
async function questionOf(gid: string): Promise<{ readonly instance: string }> {
  const { transaction } = (await api.get(`query?gid=${gid}`)).json;
  return JSON.parse(Buffer.from(new URL(transaction.query_prepared).searchParams.get('q') ?? '', 'base64url').toString());
}

/** The callback of a branch as the server makes it. */
async function callbackOf(gid: string, index: number): Promise<() => Promise<Response>> {
  const { branches } = (await api.get(`query?gid=${gid}`)).json;
  const { url, bin_data, branch_id, op } = branches[index];
  const identity = new URLSearchParams({ gid, trans_type: 'msg', branch_id, op });
  const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: Buffer.from(bin_data, 'base64') };
  return () => fetch(`${url}&${identity}`, init);
}

service.describe(`dtm() and a DTM server (${server?.version}), with orders in a database`, () => {
  postgres.describe('of PostgreSQL', () => {
    it('7: tells who starts a job again that has succeeded so', async () => {
      const { app } = await aShop();
      const start = (gid: string) => app.stepping.createJob({ gid }).addStep(note, { n: 1 }).start();
      const gid = newGid();
      await start(gid);
      await app.stepping.jobs.wait(gid, { timeoutMs: 50_000 });
      expect(await start(gid)).toEqual({ gid, status: 'succeeded', duplicate: true });
    });

    it('14: does not take a job for failed whose result was waited for in vain', async () => {
      const later = defineStep({ name: 'later', run: () => Promise.reject(retryAfter(60_000)) });
      const { app } = await aShop({ steps: [later], dtm: { waitResult: true } });
      const job = app.stepping.createJob().addStep(later);
      expect(await job.start()).toMatchObject({ status: 'submitted', duplicate: false });
      expect((await app.stepping.jobs.find(job.gid))?.status).toBe('submitted');
      await api.post('forceStop', { gid: job.gid });
    });

    it('19: leaves the barrier of its instance with what the transaction did, and runs each step once', async () => {
      const { app, order, orders, barriers } = await aShop();
      const gid = newGid();
      await order(gid);
      expect(await orders(gid)).toBe(1);
      const { instance } = await questionOf(gid);
      expect(await barriers(gid)).toEqual([{ branch_id: '00', op: 'msg', barrier_id: instance, reason: 'msg' }]);
      await api.untilStatus(gid, 'succeed');
      expect(app.ran).toEqual([`${gid}:1`, `${gid}:2`]);
    });

    it('20: leaves neither barrier nor message when the business says no', async () => {
      const { app, order, orders, barriers } = await aShop();
      const gid = newGid();
      const no = new Error('out of stock');
      await expect(order(gid, () => Promise.reject(no))).rejects.toBe(no);
      expect([await orders(gid), await barriers(gid), await api.statusOf(gid), app.ran]).toEqual([0, [], undefined, []]);
    });

    it('21: runs the steps of a transaction that committed when its process died before it could say so', async () => {
      const { dying, living, prepared, looking } = await twoProcesses();
      const gid = newGid();
      const { runner } = await prepared(gid);
      await runner.commitTransaction();
      await dying.stop();
      await api.untilStatus(gid, 'succeed');
      expect(living.ran).toEqual([`${gid}:1`]);
      expect(await looking.query('select gid from orders')).toEqual([{ gid }]);
    });

    it('22: gives the message up of a transaction that did not commit when its process died', async () => {
      const { dying, living, prepared, orders, barriers, looking } = await twoProcesses();
      const gid = newGid();
      const { runner } = await prepared(gid);
      const [{ pid }] = await runner.query('select pg_backend_pid() as pid');
      await looking.query('select pg_terminate_backend($1)', [pid]);
      await dying.stop();
      await api.untilStatus(gid, 'failed');
      expect(await barriers(gid)).toMatchObject([{ reason: 'rollback' }]);
      expect((await api.post('submit', { gid, trans_type: 'msg', steps: [], payloads: [] })).status).toBe(409);
      expect([await orders(gid), living.ran]).toEqual([0, []]);
    });

    it('23: has its barrier in the transaction before the server hears of the message, so that no question comes first', async () => {
      const answers: string[] = [];
      const ask = async (gid: string, instance: string) => {
        const provider = shop.app.stepping.resolve(DbProviders).find({ provider: 'typeorm', name: 'default' });
        answers.push((await provider?.resolveInDoubt(gid, instance, { provider: 'typeorm', name: 'default' })) ?? 'no provider');
      };
      const shop = await aShop({ serverUrl: await asksBeforePrepare(ask) });
      const gid = newGid();
      await shop.order(gid);
      expect(answers).toEqual(['unknown']);
      await api.untilStatus(gid, 'succeed');
      expect([await shop.orders(gid), shop.app.ran]).toEqual([1, [`${gid}:1`, `${gid}:2`]]);
    });

    it('24: decides nothing while the transaction is open, however often it is asked', async () => {
      const { app, prepared } = await aShop();
      const gid = newGid();
      const { runner, job } = await prepared(gid);
      await until('it was asked twice', () => app.callbacks.filter(({ kind }) => kind === 'question').length >= 2);
      expect(await api.statusOf(gid)).toBe('prepared');
      await runner.commitTransaction();
      expect(await job.submit()).toBe('submitted');
      await api.untilStatus(gid, 'succeed');
      expect(app.ran).toEqual([`${gid}:1`]);
    });

    it('25: finds out itself what became of a commit whose connection was cut, and submits if it was done', async () => {
      const { app, wire, order, orders } = await aShop();
      const [done, lost] = [newGid(), newGid()];
      await order(done, () => wire.cutNextCommit('after'));
      await expect(order(lost, () => wire.cutNextCommit('before'))).rejects.toMatchObject({ query: 'COMMIT' });
      await api.untilStatus(done, 'succeed');
      await api.untilStatus(lost, 'failed');
      expect([await orders(done), await orders(lost)]).toEqual([1, 0]);
      expect(app.ran).toEqual([`${done}:1`, `${done}:2`]);
      expect(app.callbacks.filter(({ kind }) => kind === 'question')).toEqual([]);
    });

    it('26: runs a step once that is delivered twice, and twice at the same time, and answers 200 each time', async () => {
      const gate = Promise.withResolvers<void>();
      const ran: string[] = [];
      const slow = defineStep({
        name: 'slow',
        args: unchecked<{ n: number }>(),
        async run({ gid }) {
          ran.push(gid);
          await gate.promise;
        },
      });
      const { app } = await aShop({ steps: [slow] });
      const job = app.stepping.createJob().addStep(slow, { n: 1 });
      await job.start();
      await until('the step runs', () => ran.length > 0);
      const deliver = await callbackOf(job.gid, 0);
      const parallel = Promise.all([deliver(), deliver()]);
      gate.resolve();
      expect((await parallel).map(({ status }) => status)).toEqual([200, 200]);
      await api.untilStatus(job.gid, 'succeed');
      expect((await deliver()).status).toBe(200);
      expect(ran).toEqual([job.gid]);
    });

    it('29: sends nothing by branch headers, and so nothing secret to anybody', async () => {
      const headers: string[] = [];
      const { app, order } = await aShop({ before: ({ headers: sent }) => headers.push(JSON.stringify(sent)) < 0 });
      const gid = newGid();
      await order(gid);
      await api.untilStatus(gid, 'succeed');
      const { transaction } = (await api.get(`query?gid=${gid}`)).json;
      expect(JSON.parse(transaction.options).branch_headers ?? {}).toEqual({});
      const signatures = app.callbacks.map(({ url }) => new URL(url, 'http://app').searchParams.get('s'));
      expect(signatures).not.toContain(null);
      for (const secret of [SECRET, ...signatures]) expect(headers.join()).not.toContain(secret);
    });

    it('35: goes on after the server was killed, with the step that was interrupted, which is not run twice', async () => {
      const own = await startDtm();
      const gate = Promise.withResolvers<void>();
      const ran: number[] = [];
      const step = defineStep({
        name: 'step',
        args: unchecked<{ n: number }>(),
        async run({ args }) {
          ran.push(args.n);
          if (args.n === 2) await gate.promise;
        },
      });
      const { app } = await aShop({ serverUrl: own.url, steps: [step] });
      const job = app.stepping.createJob().addStep(step, { n: 1 }).addStep(step, { n: 2 }).addStep(step, { n: 3 });
      await job.start();
      await until('the second step runs', () => ran.length === 2);
      await own.kill();
      gate.resolve();
      await own.restart();
      await app.stepping.jobs.wait(job.gid, { timeoutMs: 50_000 });
      expect(ran).toEqual([1, 2, 3]);
    });

    it('36: refuses what the server would take and never do, before it is sent', async () => {
      const { app } = await aShop();
      for (const gid of ['', 'a b', 'x;y', 'x\ny', "x'y", 'ü', 'x'.repeat(129)]) {
        expect(() => app.stepping.createJob({ gid })).toThrow(expect.objectContaining({ code: 'GID_INVALID' }));
      }
      await expect(app.stepping.createJob().start()).rejects.toMatchObject({ code: 'JOB_EMPTY' });
      for (const callbackUrl of ['app:8080', 'app:8080/stepping', '/stepping', 'grpc://app:8080', 'ftp://app/stepping', '']) {
        expect(() => dtm({ serverUrl, callbackUrl, secret: SECRET })).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID' }));
      }
      // And gids that are a prefix of one another do not get there.
      const gids = ['order', 'order1', 'order10'].map((gid) => `${gid}_${newGid().replaceAll('-', '')}`.slice(0, 20));
      for (const gid of gids) await app.stepping.createJob({ gid }).addStep(note, { n: 1 }).start();
      const { transactions } = (await api.get('all?limit=1000')).json;
      for (const { gid } of transactions) expect(gid).toHaveLength(36);
      for (const gid of gids) await app.stepping.jobs.wait(gid, { timeoutMs: 50_000 });
    });
  });
});

/** Two apps on one database, behind the address of the one that will live. Orders are prepared by the other one. */
async function twoProcesses() {
  const { app: living, dataSource, looking } = await aShop();
  const dying = await aDtmApp({ serverUrl, use: typeormDb({ dataSource }), dtm: { callbackUrl: living.callbackUrl } });
  return { dying, living, ...shopOf(dying, dataSource, looking) };
}

/** The server, behind somebody who asks a question before it hands a prepare on. */
async function asksBeforePrepare(ask: (gid: string, instance: string) => Promise<void>): Promise<string> {
  const between: Server = createServer(async (request, response) => {
    const body = await text(request);
    if (request.url?.endsWith('/prepare')) {
      const { gid, query_prepared } = JSON.parse(body);
      const question = new URL(query_prepared).searchParams.get('q') ?? '';
      await ask(gid, JSON.parse(Buffer.from(question, 'base64url').toString()).instance);
    }
    const answer = await fetch(`${serverUrl}${request.url}`, request.method === 'POST' ? { method: 'POST', body } : {});
    response.writeHead(answer.status, { 'content-type': 'application/json' }).end(await answer.text());
  });
  await new Promise<void>((resolve) => between.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    between.closeAllConnections();
    return new Promise((resolve) => between.close(resolve));
  });
  return `http://127.0.0.1:${(between.address() as AddressInfo).port}`;
}
