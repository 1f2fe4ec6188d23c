import { type DbRef, SteppingError } from '@stepping/core';

/** Where DTM calls back: one URL for all, or one for each queue (`dtm({ callbackUrl })`). */
export type CallbackUrl = string | URL | ((queue: string) => string | URL);

/** Parameters that DTM adds to a URL, and ours. */
const TAKEN = ['gid', 'trans_type', 'branch_id', 'op', 'stepping', 'q', 's'];
/** What DTM's SQL stores hold. Unit: characters. */
const MAX_URL_CHARS = 1_024;

/** The URLs that a message carries. */
export class CallbackUrls {
  readonly #base: (queue: string) => URL;

  /** @throws {@link SteppingError} `CONFIG_INVALID` for a URL that DTM cannot call; of a function, when it is asked. */
  constructor(callbackUrl: CallbackUrl) {
    if (typeof callbackUrl === 'function') {
      this.#base = (queue) => checked(callbackUrl(queue), `callbackUrl(${JSON.stringify(queue)})`);
      return;
    }
    const url = checked(callbackUrl, 'callbackUrl');
    this.#base = () => url;
  }

  step(queue: string, signature: string): string {
    return this.#with(queue, { stepping: 'step', s: signature });
  }

  /** `db`: whose owner is asked; undefined: any process that runs the first step can answer. */
  question(db: DbRef | undefined, firstQueue: string, text: string, signature: string): string {
    return this.#with(db ? questionQueue(db) : firstQueue, { stepping: 'question', q: text, s: signature });
  }

  selfTest(queue: string, signature: string): string {
    return this.#with(queue, { stepping: 'self-test', s: signature });
  }

  /** Fit to be shown: what the user has put behind the `?` may be a key for what stands before the app. */
  shown(queue: string): string {
    const { origin, pathname, search } = this.#base(queue);
    return `${origin}${pathname}${search === '' ? '' : '?…'}`;
  }

  #with(queue: string, parameters: Record<string, string>): string {
    const url = new URL(this.#base(queue));
    const added = new URLSearchParams(parameters).toString();
    // Appended as text: through `searchParams` the part that is there already would be encoded anew.
    url.search = url.search === '' ? added : `${url.search}&${added}`;
    if (url.href.length <= MAX_URL_CHARS) return url.href;
    throw new SteppingError(
      'JOB_TOO_LARGE',
      `The callback URL for queue ${queue} has ${url.href.length} characters, and DTM stores ${MAX_URL_CHARS}. Shorten callbackUrl, the gid, or the names of the tenant and its database, which are in it.`,
      { queue, characters: url.href.length },
    );
  }
}

/** Asked of `callbackUrl(queue)` for questions about a database, which only a process that knows it can answer; named as the local TM names it. */
export function questionQueue({ provider, name }: DbRef): string {
  return `~db/${provider}/${name}`;
}

function checked(given: string | URL, what: string): URL {
  const refuse = (problem: string) =>
    new SteppingError('CONFIG_INVALID', `${what} of dtm is ${problem}. DTM sends its requests there: give an absolute http or https URL.`, {
      option: 'callbackUrl',
    });
  const url = typeof given === 'string' || given instanceof URL ? URL.parse(String(given)) : null;
  if (url === null) throw refuse(typeof given === 'string' ? `${JSON.stringify(given)}, which is no URL` : `a ${typeof given}`);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') throw refuse(`of scheme ${url.protocol}`);
  if (url.username !== '' || url.password !== '') throw refuse('a URL with a user name or password, which DTM would write into its log');
  const taken = TAKEN.find((name) => url.searchParams.has(name));
  if (taken !== undefined) throw refuse(`a URL with the parameter ${taken}, which is needed for the callback itself`);
  url.hash = '';
  return url;
}
