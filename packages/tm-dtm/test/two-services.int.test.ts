import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, expect, it } from '@jest/globals';
import { declareStep, implementStep, newGid } from '@stepping/core';
import { typeormDb } from '@stepping/db-typeorm';
import { testService } from '@stepping/test-services';
import { DataSource } from 'typeorm';
import { aDtmApp, type DtmApp, newDtmApp, note, stopDtmApps } from './support/dtm-app.js';

const dtm = await testService('dtm');
const serverUrl = dtm.available ? await dtm.database() : '';
const folder = mkdtempSync(join(tmpdir(), 'two-services-'));
const dataSources: DataSource[] = [];
afterEach(stopDtmApps);
afterAll(async () => {
  await Promise.all(dataSources.map((dataSource) => dataSource.destroy()));
  rmSync(folder, { recursive: true, force: true });
});

async function database(name: string) {
  const dataSource = await new DataSource({ type: 'better-sqlite3', database: join(folder, `${newGid()}.sqlite`) }).initialize();
  dataSources.push(dataSource);
  const attempts = async () => {
    const [row] = await dataSource.query(`select max(attempts) as attempts from stepping_ledger where step = 1`);
    return row.attempts as number | null;
  };
  return { use: typeormDb({ name, dataSource }), attempts };
}

dtm.describe('Two services on one DTM server', () => {
  it('run each their own steps of a job, and count their attempts each in its own database, whatever that is called', async () => {
    const contract = declareStep({ name: 'mail.send', queue: 'mail' });
    const [ofOrders, ofMail] = [await database('orders'), await database('mail')];
    let runs = 0;
    const send = implementStep(contract, {
      retry: { maxAttempts: 3, minDelayMs: 100 },
      run() {
        if (++runs === 1) throw new Error('the first one fails');
      },
    });
    const mail = await aDtmApp({ serverUrl, steps: [send], use: ofMail.use });
    const orders: DtmApp = await newDtmApp({
      serverUrl,
      use: ofOrders.use,
      dtm: { callbackUrl: (queue) => (queue === 'mail' ? mail : orders).callbackUrl },
    });
    await orders.stepping.start();
    const { gid } = await orders.stepping.createJob().addStep(note, { n: 1 }).addStep(contract).addStep(note, { n: 2 }).start();
    await expect(orders.stepping.jobs.wait(gid, { timeoutMs: 50_000 })).resolves.toMatchObject({ status: 'succeeded' });
    expect(runs).toBe(2);
    expect(orders.ran).toEqual([`${gid}:1`, `${gid}:2`]);
    expect([await ofOrders.attempts(), await ofMail.attempts()]).toEqual([null, 2]);
  });
});
