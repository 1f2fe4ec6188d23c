/** What `work` settles with, or an error when it has not by then: a promise of somebody else may never settle. Told by the signal, a driver that can stops waiting as well. Unit: ms. */
export async function within<T>(ms: number, what: string, work: (signal: AbortSignal) => T | Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const abort = new AbortController();
  const timer = setTimeout(() => {
    reject(new Error(`${what} took more than ${ms} ms`));
    abort.abort();
  }, ms);
  try {
    return await Promise.race([(async () => work(abort.signal))(), late]);
  } finally {
    clearTimeout(timer);
  }
}
