import { connect, createServer, type Socket } from 'node:net';
import mongoose from 'mongoose';

const { serialize, deserialize } = mongoose.mongo.BSON;

/** Bytes before the document of an answer, by its opcode: OP_REPLY and OP_MSG. */
const BEFORE_DOCUMENT = new Map([
  [1, 36],
  [2013, 21],
]);

/** What a member of a replica set says of itself in `hello`, and a router does not. */
const OF_MEMBERS = [
  'setName',
  'setVersion',
  'hosts',
  'me',
  'primary',
  'secondary',
  'isWritablePrimary',
  'ismaster',
  'electionId',
  'lastWrite',
];

/**
 * A way to a replica set on which it says that it is the router (`mongos`) of a sharded cluster: for want of one, and for what a client does differently then. Listens on a free port.
 */
export async function asRouter(url: string): Promise<{ readonly url: string; close(): Promise<void> }> {
  const { hostname, port, pathname } = new URL(url);
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    const end = () => {
      client.destroy();
      upstream.destroy();
    };
    client.on('data', (chunk) => upstream.write(chunk));
    let received = Buffer.alloc(0);
    upstream.on('data', (chunk) => {
      received = Buffer.concat([received, chunk]);
      while (received.length >= 4 && received.length >= received.readInt32LE(0)) {
        const length = received.readInt32LE(0);
        client.write(ofRouter(received.subarray(0, length)));
        received = received.subarray(length);
      }
    });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', end).on('close', end);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `mongodb://127.0.0.1:${(server.address() as { port: number }).port}${pathname}`,
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

function ofRouter(message: Buffer): Buffer {
  const start = BEFORE_DOCUMENT.get(message.readInt32LE(12));
  if (start === undefined) return message;
  const answer = deserialize(message.subarray(start), { promoteValues: false, promoteLongs: false });
  if (answer.setName === undefined) return message;
  for (const name of OF_MEMBERS) delete answer[name];
  const document = serialize({ ...answer, isWritablePrimary: true, ismaster: true, msg: 'isdbgrid' });
  const changed = Buffer.concat([message.subarray(0, start), document]);
  changed.writeInt32LE(changed.length, 0);
  return changed;
}
