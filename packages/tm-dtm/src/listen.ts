import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { Log, type Logger, nodeHandler, type Stepping, SteppingError } from '@stepping/core';

/** `dtm({ listen })`: where a process without an HTTP server of its own takes callbacks. */
export interface ListenOptions {
  /** 0: any free one. */
  readonly port: number;
  /** Default: all addresses. */
  readonly host?: string | undefined;
}

/** For answers that are on their way when the server is stopped. Unit: ms. */
const CLOSE_MS = 200;
/** A callback has come in whole within this time, or its connection is closed. Unit: ms. */
const REQUEST_TIMEOUT_MS = 30_000;
/** Longer than DTM keeps an idle connection (90 s), so that it is DTM who closes it, and never we in the very moment that it sends a callback. Unit: ms. */
const KEEP_ALIVE_MS = 100_000;

/** A small HTTP server that hands every request to the endpoint, whatever its path. */
export class CallbackServer {
  readonly #options: ListenOptions;
  readonly #server: Server;

  constructor(options: ListenOptions, handle: (request: Request) => Promise<Response>, log: Required<Logger>) {
    this.#options = options;
    const resolve: Stepping['resolve'] = (token) => {
      if (token !== Log) throw new Error('the callback server has a log and nothing else');
      return log as never;
    };
    this.#server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS, keepAliveTimeout: KEEP_ALIVE_MS }, nodeHandler({ handle, resolve }));
  }

  /** Resolves with the port it listens on. @throws {@link SteppingError} `CONFIG_INVALID`: the port is taken or the address is not this machine's. */
  async start(): Promise<number> {
    const { port, host } = this.#options;
    try {
      await new Promise<void>((resolve, reject) => {
        this.#server.once('error', reject);
        this.#server.listen({ port, host }, () => {
          this.#server.off('error', reject);
          resolve();
        });
      });
    } catch (cause) {
      const text = cause instanceof Error ? cause.message : String(cause);
      throw new SteppingError(
        'CONFIG_INVALID',
        `dtm({ listen }) cannot listen on port ${port}${host === undefined ? '' : ` of ${host}`}: ${text}. Give it a port that is free, or take callbacks in your own server with nodeHandler(stepping).`,
        { port, host, cause },
      );
    }
    return (this.#server.address() as AddressInfo).port;
  }

  /** Takes no new connection; answers what is open. To be called after the endpoint has stopped. */
  async stop(): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    // Kept alive by DTM for its next callback.
    this.#server.closeIdleConnections();
    const late = setTimeout(() => this.#server.closeAllConnections(), CLOSE_MS);
    await closed;
    clearTimeout(late);
  }
}
