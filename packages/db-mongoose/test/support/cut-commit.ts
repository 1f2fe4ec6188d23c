import { connect, createServer, type Server, type Socket } from 'node:net';

/** A way to a MongoDB server on which commits can go wrong. */
export interface Wire {
  /** The URL of the database through this way. */
  readonly url: string;
  /** What becomes of the next commits: the server never gets them; or it does them, and its answers are lost. Both end the connection. */
  cutCommits(how: 'before' | 'after', times: number): void;
  /** How many it has cut. */
  readonly cuts: number;
  close(): Promise<void>;
}

/** Listens on a free port and passes everything on to the server of `url`. */
export async function openWire(url: string): Promise<Wire> {
  const { hostname, port, pathname } = new URL(url);
  const sockets = new Set<Socket>();
  let [how, left, cuts]: ['before' | 'after', number, number] = ['before', 0, 0];

  const server: Server = createServer((client) => {
    const upstream = connect(Number(port), hostname);
    let answerIsLost = false;
    const end = () => {
      client.destroy();
      upstream.destroy();
    };
    client.on('data', (chunk) => {
      if (left > 0 && chunk.includes('commitTransaction\0')) {
        left--;
        cuts++;
        answerIsLost = how === 'after';
        if (!answerIsLost) return end();
      }
      upstream.write(chunk);
    });
    upstream.on('data', (chunk) => (answerIsLost ? end() : client.write(chunk)));
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', end).on('close', end);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    // Direct: the driver would otherwise ask the set for its members, and go to them.
    url: `mongodb://127.0.0.1:${(server.address() as { port: number }).port}${pathname}?directConnection=true`,
    cutCommits(which, times) {
      [how, left] = [which, times];
    },
    get cuts() {
      return cuts;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
