import { connect, createServer, type Server, type Socket } from 'node:net';

/** A way to a server on which a COMMIT can go wrong. */
export interface Wire {
  /** The URL of the database through this way. */
  readonly url: string;
  /** What becomes of the next COMMIT: the server never gets it; or it does it, and its answer is lost; or it gets it when `land` is called. All end the connection. */
  cutNextCommit(how: 'before' | 'after' | 'late'): void;
  /** Resolves to what the server said then. */
  land(): Promise<string>;
  /** What the client has sent, message by message or several at once, as it came. */
  readonly sent: string[];
  /** From now on the server gets another text of the same length for this one. */
  replace(text: string, other: string): void;
  /** From now on, what the server says of the transaction after an error arrives apart from that error. */
  splitErrors(): void;
  close(): Promise<void>;
}

/** Listens on a free port and passes everything on to the server of `url`. */
export async function openWire(url: string): Promise<Wire> {
  const { hostname, port } = new URL(url);
  const sockets = new Set<Socket>();
  let cut: 'before' | 'after' | 'late' | undefined;
  let land = async () => '';
  let splits = false;
  const sent: string[] = [];
  let replaced: { readonly text: string; readonly other: string } | undefined;

  const server: Server = createServer((client) => {
    client.setNoDelay();
    const upstream = connect(Number(port), hostname);
    let answerIsLost = false;
    let isLate = false;
    const end = () => {
      if (isLate) return void client.destroy();
      client.destroy();
      upstream.destroy();
    };
    client.on('data', (chunk) => {
      if (cut !== undefined && isCommit(chunk)) {
        answerIsLost = cut === 'after';
        isLate = cut === 'late';
        cut = undefined;
        if (isLate) {
          land = () =>
            new Promise((resolve) => {
              upstream.removeAllListeners('data').once('data', (answer) => {
                isLate = false;
                end();
                resolve(answer.toString('latin1'));
              });
              upstream.write(chunk);
            });
        }
        if (!answerIsLost) return end();
      }
      const text = chunk.toString('latin1');
      sent.push(text);
      upstream.write(replaced ? Buffer.from(text.replace(replaced.text, replaced.other), 'latin1') : chunk);
    });
    upstream.on('data', (chunk) => {
      if (answerIsLost) end();
      else if (splits && isFailedState(chunk.subarray(-6))) {
        client.write(chunk.subarray(0, -6));
        setTimeout(() => client.write(chunk.subarray(-6)), 20);
      } else client.write(chunk);
    });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', end).on('close', end);
    }
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const through = new URL(url);
  through.port = String((server.address() as { port: number }).port);
  return {
    url: through.href,
    cutNextCommit(how) {
      cut = how;
    },
    land: () => land(),
    sent,
    replace(text, other) {
      replaced = { text, other };
    },
    splitErrors() {
      splits = true;
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** The message of a simple query. PostgreSQL: Q, its length, its text; MySQL: its length, a number, 3, its text. */
function isCommit(chunk: Buffer): boolean {
  const text = chunk[0] === 0x51 ? chunk.subarray(5) : chunk[4] === 3 ? chunk.subarray(5) : undefined;
  return text !== undefined && /(^|; )COMMIT/i.test(text.toString('latin1'));
}

/** ReadyForQuery in a failed transaction: Z, its length, E. */
function isFailedState(message: Buffer): boolean {
  return message.equals(Buffer.from([0x5a, 0, 0, 0, 5, 0x45]));
}
