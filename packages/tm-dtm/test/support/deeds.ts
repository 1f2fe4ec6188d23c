import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from '@jest/globals';
import type { StepContext, SteppingPlugin } from '@stepping/core';
import * as mongo from '@stepping/db-mongoose';
import * as sql from '@stepping/db-typeorm';
import { type TestService, testService } from '@stepping/test-services';
import { type Connection, createConnection, Schema } from 'mongoose';
import { DataSource, EntitySchema } from 'typeorm';

/** A database as one process has it, in which steps do something once. */
export interface DeedsProcess {
  readonly plugin: SteppingPlugin;
  /** Writes down the key of the step, in a transaction of its own. */
  once(context: StepContext<any, any>): Promise<void>;
}

export interface DeedsDatabase {
  process(): Promise<DeedsProcess>;
  /** Committed ones, sorted. */
  deeds(): Promise<string[]>;
  close(): Promise<void>;
}

/** A kind of database, of which `open` makes an empty one. */
export interface DeedsKind {
  readonly name: string;
  describe(title: string, body: () => void): void;
  open(): Promise<DeedsDatabase>;
}

const Deed = new EntitySchema<{ id: number; what: string }>({
  name: 'deed',
  columns: { id: { type: Number, primary: true, generated: true }, what: { type: String } },
});

const folder = mkdtempSync(join(tmpdir(), 'stepping-tm-dtm-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
let files = 0;

const sqlite: DeedsKind = {
  name: 'SQLite',
  describe,
  open: () =>
    inSql(
      () =>
        new DataSource({
          type: 'better-sqlite3',
          database: join(folder, `${++files}.sqlite`),
          enableWAL: true,
          entities: [Deed],
          synchronize: true,
        }),
    ),
};

const server = (name: string, service: TestService, type: 'postgres' | 'mariadb'): DeedsKind => ({
  name,
  describe: (title, body) => service.describe(title, body),
  async open() {
    const url = await service.database();
    return inSql(() => new DataSource({ type, url, entities: [Deed], synchronize: true, poolSize: 5 }));
  },
});

async function inSql(dataSource: () => DataSource): Promise<DeedsDatabase> {
  const first = await dataSource().initialize();
  const opened = [first];
  return {
    async process() {
      const own = await new DataSource({ ...first.options, synchronize: false }).initialize();
      opened.push(own);
      return {
        plugin: sql.typeormDb({ dataSource: own }),
        async once(context) {
          await sql.once(own, context, (manager) => manager.insert(Deed, { what: context.idempotencyKey }));
        },
      };
    },
    deeds: async () => (await first.getRepository(Deed).find()).map(({ what }) => what).sort(),
    async close() {
      for (const one of opened) await one.destroy();
    },
  };
}

const mongodbService = await testService('mongodb');

const mongodb: DeedsKind = {
  name: 'MongoDB',
  describe: (title, body) => mongodbService.describe(title, body),
  async open() {
    const url = await mongodbService.database();
    const opened: Connection[] = [];
    const connect = async () => {
      const connection = await createConnection(url, { serverSelectionTimeoutMS: 5_000 }).asPromise();
      opened.push(connection);
      const model = connection.model<{ what: string }>('Deed', new Schema({ what: String }));
      await model.createCollection();
      return { connection, model };
    };
    const first = await connect();
    return {
      async process() {
        const { connection, model } = await connect();
        return {
          plugin: mongo.mongooseDb({ connection }),
          async once(context) {
            await mongo.once(connection, context, async (session) => {
              await model.create([{ what: context.idempotencyKey }], { session });
            });
          },
        };
      },
      deeds: async () => (await first.model.find()).map(({ what }) => what).sort(),
      async close() {
        await Promise.all(opened.map((connection) => connection.close(true)));
      },
    };
  },
};

export const deedsKinds: readonly DeedsKind[] = [
  sqlite,
  server('PostgreSQL', await testService('postgres'), 'postgres'),
  server('MariaDB', await testService('mariadb'), 'mariadb'),
  mongodb,
];
