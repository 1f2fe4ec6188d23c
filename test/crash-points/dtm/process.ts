import { setTimeout as sleep } from 'node:timers/promises';
import type { TmPlugin } from '@stepping/core';
import { dtm } from '@stepping/tm-dtm';
import { HttpDtmServer } from '../../../packages/tm-dtm/src/http-dtm-server.js';
import { wireGid } from '../../../packages/tm-dtm/src/wire-gid.js';
import { withServices } from '../../with-services.js';
import { throughBoundary } from '../boundaries.js';
import type { Database } from '../databases.js';
import { Process, type SeenJob, type World } from '../process.js';
import { SERVER } from './boundaries.js';
import type { Callback } from './callbacks.js';

/** Between two looks at a job: many lanes look at once. Unit: ms. */
const LOOK_EVERY_MS = 100;

/** Where its jobs are, and where it is called back. */
export interface DtmAddress {
  readonly serverUrl: string;
  readonly callbackUrl: string;
  readonly secret: string;
}

/** An app whose jobs are on a DTM server. */
export class DtmProcess extends Process {
  /** It answers no more: whoever waits for it has waited in vain. */
  #silent = Promise.withResolvers<undefined>();

  static async onDtm(
    name: string,
    databases: { store: Database; business: Database },
    world: () => World,
    address: DtmAddress,
  ): Promise<DtmProcess> {
    const process = new DtmProcess(name, world);
    await process.open(databases);
    await process.startApp(process.#throughServer(dtm({ ...address, retryIntervalMs: 1_000, requestTimeoutMs: 1_000 })));
    return process;
  }

  get takesCallbacks(): boolean {
    return this.claims && !this.dead && !this.asleep && !this.stopped;
  }

  /** Undefined: no answer. */
  callback({ kind, gid, request }: Callback): Promise<Response | undefined> {
    const answer = this.pass(`callback.${kind}`, () => this.stepping.handle(request), [gid]).catch(() => undefined);
    return Promise.race([answer, this.#silent.promise]);
  }

  override async find(gid: string): Promise<SeenJob | undefined> {
    await sleep(LOOK_EVERY_MS);
    const job = await this.stepping.jobs.find(gid);
    return job && { ...job, of: job.steps.length };
  }

  override die(): Promise<never> {
    this.#silent.resolve(undefined);
    return super.die();
  }

  override sleep(): void {
    super.sleep();
    this.#silent.resolve(undefined);
  }

  override wake(): void {
    if (!this.dead) this.#silent = Promise.withResolvers();
    super.wake();
  }

  protected override async isOfThisRun(call: string, args: readonly unknown[]): Promise<boolean> {
    const world = this.world() as World | undefined; // none before the first run
    if (!world) return false;
    if (call === 'server.all') return true;
    const text = JSON.stringify(args);
    return [world.gid, world.jobGid, wireGid(world.jobGid, 1)].some((known) => text.includes(known));
  }

  #throughServer(inner: TmPlugin): TmPlugin {
    return withServices(inner, (made) =>
      made instanceof HttpDtmServer ? throughBoundary('server', made, SERVER, this.pass, { beyond: true }) : made,
    );
  }
}
