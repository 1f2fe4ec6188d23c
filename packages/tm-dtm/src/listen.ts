import type { Logger } from '@stepping/core';

/** `dtm({ listen })`: where a process without an HTTP server of its own takes callbacks. */
export interface ListenOptions {
  /** 0: any free one. */
  readonly port: number;
  /** Default: all addresses. */
  readonly host?: string | undefined;
}

/** A small HTTP server that hands every request to the endpoint. */
export class CallbackServer {
  constructor(_options: ListenOptions, _handle: (request: Request) => Promise<Response>, _log: Required<Logger>) {}

  /** Resolves with the port it listens on. @throws {@link SteppingError} `CONFIG_INVALID`: the port is taken or the address is not this machine's. */
  async start(): Promise<number> {
    return 0;
  }

  /** Takes no new connection; answers what is open. To be called after the endpoint has stopped. */
  async stop(): Promise<void> {}
}
