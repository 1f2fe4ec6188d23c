import { connect, createServer, type Socket } from 'node:net';

/** A way to a server that counts what clients send there. It costs time: nothing that is timed goes this way. */
export interface StatementCounter {
  /** The database, by this way. */
  readonly database: string;
  statements(): number;
  stop(): Promise<void>;
}

/** Looks at one message of a client; answers its length in bytes and whether it is a statement, or undefined while too little of it is there. */
type Framing = (bytes: Buffer, first: boolean) => { readonly length: number; readonly isStatement: boolean } | undefined;

/** A simple query or the execution of a prepared one. What a client sends first has no type: the start. */
const postgres: Framing = (bytes, first) => {
  const header = first ? 4 : 5;
  if (bytes.length < header) return undefined;
  const type = String.fromCharCode(bytes[0] as number);
  return { length: bytes.readUInt32BE(header - 4) + header - 4, isStatement: !first && (type === 'Q' || type === 'E') };
};

/** A packet with number 0 begins a command; the answer to the server's greeting has number 1. */
const mysql: Framing = (bytes) => (bytes.length < 4 ? undefined : { length: bytes.readUIntLE(0, 3) + 4, isStatement: bytes[3] === 0 });

/** Every message is a command, heartbeats too. */
const mongodb: Framing = (bytes) => (bytes.length < 4 ? undefined : { length: bytes.readUInt32LE(0), isStatement: true });

const FRAMINGS: Readonly<Record<string, Framing>> = { 'postgres:': postgres, 'mysql:': mysql, 'mongodb:': mongodb };

/** Undefined where there is no server in between, or its protocol is not known. */
export async function countStatements(database: string): Promise<StatementCounter | undefined> {
  const url = URL.canParse(database) ? new URL(database) : undefined;
  const framing = url && FRAMINGS[url.protocol];
  if (url === undefined || framing === undefined) return undefined;
  const { hostname, port } = url;
  const sockets = new Set<Socket>();
  let count = 0;
  const server = createServer((client) => {
    const upstream = connect({ host: hostname, port: Number(port), noDelay: true });
    client.setNoDelay(true);
    let pending: Buffer = Buffer.alloc(0);
    let first = true;
    client.on('data', (data: Buffer) => {
      upstream.write(data);
      pending = Buffer.concat([pending, data]);
      for (let frame = framing(pending, first); frame !== undefined && pending.length >= frame.length; frame = framing(pending, first)) {
        if (frame.isStatement) count++;
        pending = pending.subarray(frame.length);
        first = false;
      }
    });
    upstream.pipe(client);
    for (const [socket, other] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(socket);
      socket
        .on('error', () => {})
        .on('close', () => {
          sockets.delete(socket);
          other.destroy();
        });
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  url.hostname = '127.0.0.1';
  url.port = String((server.address() as { port: number }).port);
  // A client of MongoDB would go on to the servers that the set names.
  if (url.protocol === 'mongodb:') {
    url.searchParams.delete('replicaSet');
    url.searchParams.set('directConnection', 'true');
  }
  return {
    database: url.href,
    statements: () => count,
    async stop() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
