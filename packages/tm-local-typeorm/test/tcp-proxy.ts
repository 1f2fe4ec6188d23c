import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';

/** Stands between a client and its server, and fails as networks do. */
export interface TcpProxy {
  /** The URL of the server, through the proxy. */
  readonly url: string;
  /** What comes from the server is held back from now on; what goes to it still arrives. */
  swallowAnswers(): void;
  /** What is sent next still arrives; then nothing goes either way, and neither side hears that the other hung up. */
  goSilent(): void;
  /** From now on all is well again, for new connections. */
  heal(): void;
  /** Ends all connections without a word, and refuses new ones. */
  cut(): void;
  close(): Promise<void>;
}

export async function tcpProxy(target: string): Promise<TcpProxy> {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let swallowing = false;
  let refusing = false;
  let silencing = false;

  const server = createServer((client) => {
    if (refusing) {
      client.destroy();
      return;
    }
    const upstream = connect(Number(port), hostname);
    let silent = false;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => {});
      socket.on('close', () => {
        if (silent && !refusing) return;
        client.destroy();
        upstream.destroy();
        sockets.delete(socket);
      });
    }
    client.on('data', (data) => {
      if (!silent) upstream.write(data);
      silent ||= silencing;
    });
    upstream.on('data', (data) => {
      if (!swallowing && !silent) client.write(data);
    });
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');

  const cut = () => {
    refusing = true;
    for (const socket of sockets) socket.destroy();
  };
  const url = new URL(target);
  url.host = `127.0.0.1:${(server.address() as AddressInfo).port}`;
  return {
    url: url.href,
    swallowAnswers: () => {
      swallowing = true;
    },
    goSilent: () => {
      silencing = true;
    },
    heal: () => {
      swallowing = false;
      silencing = false;
      refusing = false;
    },
    cut,
    close: async () => {
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}
