import 'reflect-metadata';
import { createStepping, defineStep, unchecked } from '@stepping/core';
import { localTm } from '@stepping/tm-local';
import { hostedProcessor } from '@stepping/tm-local-hosted-processor';
import { typeormStore } from '@stepping/tm-local-typeorm';
import { DataSource, type DataSourceOptions } from 'typeorm';
import type { Contestant, Payload } from './contestant.js';

/** Stepping with the options that it has by default. */
export function stepping(optionsOf: (database: string) => DataSourceOptions): Contestant {
  const open = async (database: string, app: { worker: boolean; onStep: () => void }) => {
    const dataSource = await new DataSource(optionsOf(database)).initialize();
    const steps = ['one', 'two', 'three'].map((name) =>
      defineStep({
        name,
        args: unchecked<Payload>(),
        run: async () => app.onStep(),
      }),
    );
    const processor = app.worker && hostedProcessor();
    const opened = createStepping({ steps, tm: localTm({ store: typeormStore({ dataSource }), processor }) });
    await opened.start();
    const close = async () => {
      await opened.stop();
      await dataSource.destroy();
    };
    return { app: opened, dataSource, steps, close };
  };
  return {
    async create(database) {
      await (await open(database, { worker: false, onStep: () => {} })).close();
    },
    async openProducer(database) {
      const { app, steps, close } = await open(database, { worker: false, onStep: () => {} });
      return {
        async enqueue(count, args) {
          const job = app.createJob();
          for (const step of steps.slice(0, count)) job.addStep(step, args);
          await job.start();
        },
        close,
      };
    },
    async openWorker(database, onStep) {
      const { dataSource, close } = await open(database, { worker: true, onStep });
      // Jobs that have ended are never due again.
      const unfinished = 'select count(*) as n from (select 1 from stepping_job where due_at is not null limit 1) as one';
      return { hasUnfinished: async () => Number((await dataSource.query(unfinished))[0].n) > 0, close };
    },
  };
}
