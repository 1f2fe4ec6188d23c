import mongoose from 'mongoose';
import type { Databases } from './databases.js';
import type { TestServer } from './test-services.js';

export async function mongodbDatabases(server: TestServer): Promise<Databases> {
  const probe = await server.createDatabase('probe');
  const { version, pid } = await connected(probe, async (connection) => {
    const build = await admin(connection, { buildInfo: 1 });
    const status = await admin(connection, { serverStatus: 1 }).catch((): mongoose.mongo.Document => ({}));
    const isStandIn = /secantus/i.test(JSON.stringify(build));
    const product = isStandIn ? 'SecantusDB, a stand-in that answers as MongoDB' : 'MongoDB';
    return { version: `${product} ${build.version}`, pid: Number(status.pid) || undefined };
  });
  await server.dropAll();
  return {
    described: `${version}, one member, w: majority`,
    serverPid: pid,
    open: (label) => server.createDatabase(label),
    async createOrders(database) {
      await connected(database, async ({ db }) => void (await db?.createCollection('bench_order')));
    },
    async relax() {},
    async settle() {},
    dropAll: () => server.dropAll(),
    stop: async () => {},
  };
}

async function admin(connection: mongoose.Connection, command: mongoose.mongo.Document): Promise<mongoose.mongo.Document> {
  return (connection.db as mongoose.mongo.Db).admin().command(command);
}

async function connected<R>(url: string, work: (connection: mongoose.Connection) => Promise<R>): Promise<R> {
  const connection = await mongoose.createConnection(url).asPromise();
  try {
    return await work(connection);
  } finally {
    await connection.close();
  }
}
