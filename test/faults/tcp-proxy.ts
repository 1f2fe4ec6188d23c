import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import type { Place } from './place.js';

/** Stands between services and their server, and fails as networks do. Well at first. */
export interface TcpProxy {
  /** The way to a database through it. */
  through(place: Place): Place;
  /** The same address, but through it. */
  url(target: string): string;
  /** Every third COMMIT breaks its connection: in turn before the server gets it, and after the server did it, before anybody heard of that. */
  cutCommits(): void;
  /** Every connection breaks, at a random byte of what it sends or of what it gets. */
  cutAtRandomBytes(random: () => number): void;
  /** From now on nothing goes through the connections that are open, in either direction, and nobody is told. New ones are well. */
  swallow(): void;
  /** What a keepalive does in the end: both sides of such a connection learn that it is gone. */
  notice(): void;
  /** Whatever is behind it is away: connections break, and no new one is made. */
  goAway(): void;
  /** New connections are well. */
  heal(): void;
  /** Connections that were broken, or swallowed. */
  readonly broken: number;
  close(): Promise<void>;
}

type Fault = { readonly kind: 'none' | 'away' } | { readonly kind: 'commits' } | { readonly kind: 'bytes'; readonly random: () => number };

const COMMITS_BETWEEN_CUTS = 3;
/** Most that goes through a connection in one direction before it breaks: from the middle of its handshake to some jobs. */
const MOST_BYTES = 6_000;

export async function tcpProxy(target: Pick<Place, 'url'>): Promise<TcpProxy> {
  const { hostname, port } = new URL(target.url);
  const links = new Set<Link>();
  let fault: Fault = { kind: 'none' };
  let commits = 0;
  let broken = 0;

  const server = createServer((client) => {
    if (fault.kind === 'away') return void client.destroy();
    const link = new Link(client, connect(Number(port), hostname));
    const { kind } = fault;
    const atByte = fault.kind === 'bytes' ? Math.floor(fault.random() ** 2 * MOST_BYTES) : Number.POSITIVE_INFINITY;
    const sends = fault.kind === 'bytes' && fault.random() < 0.5;
    links.add(link);
    let through = 0;
    let answerIsLost = false;
    const cut = () => {
      if (!link.ended) broken++;
      link.end();
    };
    /** As much of it as goes through before the connection breaks. */
    const pass = (chunk: Buffer, to: Socket, breaks: boolean) => {
      const left = breaks ? atByte - through : Number.POSITIVE_INFINITY;
      if (breaks) through += chunk.length;
      if (chunk.length < left) to.write(chunk);
      else to.write(chunk.subarray(0, left), cut);
    };
    client.on('data', (chunk: Buffer) => {
      if (link.swallowed) return;
      if (kind === 'commits' && fault.kind === 'commits' && isCommit(chunk) && ++commits % COMMITS_BETWEEN_CUTS === 0) {
        if ((commits / COMMITS_BETWEEN_CUTS) % 2 === 0) return cut();
        answerIsLost = true;
      }
      pass(chunk, link.upstream, sends);
    });
    link.upstream.on('data', (chunk: Buffer) => {
      if (link.swallowed) return;
      if (answerIsLost) cut();
      else pass(chunk, client, !sends);
    });
    for (const socket of [client, link.upstream]) socket.on('close', () => links.delete(link));
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const own = `127.0.0.1:${(server.address() as AddressInfo).port}`;

  return {
    through({ kind, url }) {
      const through = new URL(url);
      through.host = own;
      // The driver would ask a replica set for its members, and go to them past the proxy.
      if (kind === 'mongodb') through.search = 'directConnection=true';
      return { kind, url: through.href };
    },
    url(target) {
      const through = new URL(target);
      through.host = own;
      return through.href;
    },
    cutCommits() {
      fault = { kind: 'commits' };
      for (const link of links) link.end(); // so that all that are open count from now on
    },
    cutAtRandomBytes(random) {
      fault = { kind: 'bytes', random };
      for (const link of links) link.end();
    },
    swallow() {
      for (const link of links) link.swallowed = true;
      broken += links.size;
    },
    notice() {
      for (const link of links) if (link.swallowed) link.end();
    },
    goAway() {
      fault = { kind: 'away' };
      for (const link of links) link.end();
    },
    heal() {
      fault = { kind: 'none' };
    },
    get broken() {
      return broken;
    },
    async close() {
      for (const link of links) link.end();
      server.close();
      await once(server, 'close');
    },
  };
}

class Link {
  readonly client: Socket;
  readonly upstream: Socket;
  swallowed = false;
  ended = false;

  constructor(client: Socket, upstream: Socket) {
    this.client = client;
    this.upstream = upstream;
    for (const socket of [client, upstream]) {
      socket.setNoDelay();
      socket.on('error', () => this.end());
      // A swallowed end is not heard by the other side either.
      socket.on('close', () => {
        if (!this.swallowed) this.end();
      });
    }
  }

  end(): void {
    this.ended = true;
    this.client.destroy();
    this.upstream.destroy();
  }
}

/** As the drivers of SQL say it, a statement alone or the last one of several; as MongoDB's does, whose every statement of a transaction says `autocommit`. */
function isCommit(chunk: Buffer): boolean {
  return /\bcommit(?:Transaction)?(?:[\0;\s]|$)/i.test(chunk.toString('latin1'));
}
