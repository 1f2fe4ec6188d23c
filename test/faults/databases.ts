import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe } from '@jest/globals';
import { type TestService, testService } from '@stepping/test-services';
import mongoose from 'mongoose';
import type { Kind, Place } from './place.js';

/** A kind of database that faults are made on. */
export interface FaultDatabase {
  readonly name: string;
  readonly kind: Kind;
  /** How much of the work that tests of many jobs do is for this one: 1, or less where the server is slow. */
  readonly share: number;
  describe(title: string, body: () => void): void;
  /** A new, empty one. */
  create(label: string): Promise<Place>;
  /** A new, empty one on a server that belongs to this test file, and the way to kill that server and start it again. Absent: there is no server. */
  readonly own?: { create(label: string): Promise<Place>; restart(): Promise<void> };
  /** What the server does by itself in the end: ends the transactions of clients that are gone. Absent: it does so at once. */
  noticesLostClients?(place: Place): Promise<void>;
}

const folder = mkdtempSync(join(tmpdir(), 'stepping-faults-'));
process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
let files = 0;

export const newFile = (label: string) => join(folder, `${++files}-${label}`);

export const sqlite = async (): Promise<FaultDatabase> => ({
  name: 'SQLite',
  kind: 'sqlite',
  share: 1,
  describe,
  create: async (label) => ({ kind: 'sqlite', url: newFile(`${label}.sqlite`) }),
});

export const postgres = () => onServer('PostgreSQL', 'postgres');
export const mariadb = () => onServer('MariaDB', 'mariadb');

/** All on a server of this test file: what its lost clients had open would stay for a minute, and is ended for all of its clients. */
export async function mongodb(): Promise<FaultDatabase> {
  const database = await onServer('MongoDB', 'mongodb');
  return {
    ...database,
    share: 0.2, // what stands in for it does a tenth of what the others do
    create: (label) => database.own.create(label),
    async noticesLostClients({ url }) {
      const client = new mongoose.mongo.MongoClient(url);
      await client.db('admin').command({ killAllSessions: [] });
      await client.close();
    },
  };
}

async function onServer(name: string, kind: Exclude<Kind, 'sqlite'>) {
  const shared = await testService(kind === 'mongodb' ? 'mongodb-own' : kind);
  const own = await testService(`${kind}-own`);
  const createOn = (service: TestService) => async (label: string) => ({ kind, url: await service.database(label) });
  return {
    name,
    kind,
    share: 1,
    describe: (title, body) => shared.describe(title, body),
    create: createOn(shared),
    own: { create: createOn(own), restart: () => own.restart() },
  } satisfies FaultDatabase;
}
