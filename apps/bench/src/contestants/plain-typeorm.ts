import 'reflect-metadata';
import pg from 'pg';
import { DataSource } from 'typeorm';
import type { Contestant } from '../contestant.js';
import { INSERT_ORDER } from '../orders.js';

const CREATE = 'create table job (id bigint generated always as identity primary key, steps text not null)';
const INSERT_JOB = { name: 'insert_job', text: 'insert into job (steps) values ($1)' };

/** The transaction of a TypeORM application, without Stepping: in W4 a business row and a job beside it, in W7 the business row alone. What it lacks of plain `pg` is the ORM's. */
export const contestants: Readonly<Record<string, Contestant>> = {
  postgres: {
    async create(database) {
      const client = new pg.Client({ connectionString: database });
      await client.connect();
      await client.query(CREATE);
      await client.end();
    },
    async openProducer(_database, { workload, callers, orders }) {
      const dataSource = await new DataSource({ type: 'postgres', url: orders, poolSize: callers }).initialize();
      return {
        async placeOrder({ customer, amount }, args) {
          const runner = dataSource.createQueryRunner();
          try {
            const client: pg.ClientBase = await runner.connect();
            await runner.startTransaction();
            await client.query({ ...INSERT_ORDER, values: [customer, amount] });
            if (workload === 'W4') await client.query({ ...INSERT_JOB, values: [JSON.stringify([args])] });
            await runner.commitTransaction();
          } finally {
            await runner.release();
          }
        },
        close: () => dataSource.destroy(),
      };
    },
  },
};
