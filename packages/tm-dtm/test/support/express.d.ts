/** As much of Express 5 as the tests use: it brings no types. */
declare module 'express' {
  import type { RequestListener } from 'node:http';

  interface Application extends RequestListener {
    all(path: string, handler: RequestListener): void;
    use(handler: RequestListener): void;
    use(path: string, handler: RequestListener): void;
  }
  interface Express {
    (): Application;
    json(): RequestListener;
    raw(options: { type: string }): RequestListener;
    text(options: { type: string }): RequestListener;
  }
  const express: Express;
  export default express;
}
