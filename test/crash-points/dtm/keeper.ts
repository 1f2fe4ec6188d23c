import { randomUUID } from 'node:crypto';
import type { Database, Jobs } from '../databases.js';
import type { Keeper } from '../lane.js';
import type { World } from '../process.js';
import type { Callback, Callbacks } from './callbacks.js';
import { type DtmAddress, DtmProcess } from './process.js';

/** The jobs of one lane on a DTM server, which calls back whoever of its processes is there, in turn. */
export class DtmKeeper implements Keeper {
  /** DTM comes back after one second or two, or after three or four where nobody was there. */
  readonly pace = { quiet: 500, quietWithoutHolder: 50, sleep: 2_500, beforeLanding: 300, lasting: 300, run: 120_000 };
  readonly #address: DtmAddress;
  readonly #processes = new Set<DtmProcess>();
  #turn = 0;

  constructor(serverUrl: string, callbacks: Callbacks) {
    // A secret of its own: messages of other lanes are those of a stranger.
    this.#address = { serverUrl, callbackUrl: callbacks.urlOf((callback) => this.#deliver(callback)), secret: randomUUID() };
  }

  /** Of the length that the server wants, so that it stays as it is. */
  newGid(): string {
    return randomUUID();
  }

  /** Leases are in the ledger; all else is the server's, which has its own time. */
  jobsIn({ ledger }: Database): Jobs {
    // What is left on the server of former runs may call once more: that those steps are done is still to be known then.
    return { clear: async () => {}, makeDue: (gid) => ledger.makeDue(gid), age: async () => false };
  }

  async start(name: string, databases: { store: Database; business: Database }, world: () => World): Promise<DtmProcess> {
    const process = await DtmProcess.onDtm(name, databases, world, this.#address);
    for (const former of this.#processes) if (former.dead || former.stopped) this.#processes.delete(former);
    this.#processes.add(process);
    return process;
  }

  async #deliver(callback: Callback): Promise<Response | undefined> {
    if (callback.kind === 'self-test') return new Response(null, { status: 200 });
    const there = [...this.#processes].filter(({ takesCallbacks }) => takesCallbacks);
    return there[this.#turn++ % there.length]?.callback(callback);
  }
}
