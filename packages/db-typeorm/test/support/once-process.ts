// A process that runs one job whose step does something once: node once-process.ts <options of the DataSource> <hangs or goes-on>
import { createStepping, defineStep } from '@stepping/core';
import { localTm } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { typeormStore } from '@stepping/tm-local-typeorm';
import { DataSource, EntitySchema } from 'typeorm';
import { once, typeormDb } from '../../src/index.js';

const Order = new EntitySchema<{ id: number; what: string }>({
  name: 'order',
  columns: { id: { type: Number, primary: true, generated: true }, what: { type: String } },
});

const [options = '', then] = process.argv.slice(2);
const dataSource = await new DataSource({ ...JSON.parse(options), entities: [Order] }).initialize();
const effect = defineStep({
  name: 'effect',
  async run(context) {
    const { ran } = await once(dataSource, context, (manager) => manager.save(Order, { what: 'x' }));
    console.log(ran ? 'committed' : 'was committed before');
    if (then === 'hangs') await new Promise(() => {}); // until it is killed
  },
});
const stepping = createStepping({
  steps: [effect],
  tm: localTm({ store: typeormStore({ dataSource }), processor: hostedProcessor({ maxPollMs: 100 }), leaseMs: 500 }),
  use: [typeormDb({ dataSource })],
});
await stepping.start();
await stepping.createJob({ gid: 'job' }).addStep(effect).start();
await stepping.jobs.wait('job', { timeoutMs: 60_000 });
console.log('succeeded');
await stepping.stop();
await dataSource.destroy();
