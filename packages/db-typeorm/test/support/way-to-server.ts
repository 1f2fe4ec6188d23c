import { connect, createServer, type Socket } from 'node:net';

/** A way to a PostgreSQL server that can be closed: as a host that is gone (`hangs`), or a port that nobody listens on (`refuses`). */
export interface WayToServer {
  readonly url: string;
  become(state: 'open' | 'hangs' | 'refuses'): void;
  close(): Promise<void>;
}

export async function openWay(url: string): Promise<WayToServer> {
  const { hostname, port } = new URL(url);
  const sockets = new Set<Socket>();
  let state: 'open' | 'hangs' | 'refuses' = 'open';
  const server = createServer((client) => {
    sockets.add(client);
    client.on('error', () => client.destroy()).on('close', () => sockets.delete(client));
    if (state === 'refuses') client.destroy();
    if (state !== 'open') return;
    const upstream = connect(Number(port), hostname);
    upstream.on('error', () => client.destroy()).on('close', () => client.destroy());
    client.on('close', () => upstream.destroy());
    client.pipe(upstream).pipe(client);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const through = new URL(url);
  through.port = String((server.address() as { port: number }).port);
  const cut = () => {
    for (const socket of sockets) socket.destroy();
  };
  return {
    url: through.href,
    become(next) {
      state = next;
      cut();
    },
    async close() {
      cut();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
