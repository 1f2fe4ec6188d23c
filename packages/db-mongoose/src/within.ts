/** What `work` settles with, or an error when it has not by then. Told by the signal, the driver stops waiting as well. Unit: ms. */
export async function within<T>(ms: number, what: string, work: (signal: AbortSignal) => T | Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const abort = new AbortController();
  const timer = setTimeout(() => {
    late.reject(new Error(`${what} took more than ${ms} ms`));
    abort.abort();
  }, ms);
  try {
    return await Promise.race([(async () => work(abort.signal))(), late.promise]);
  } finally {
    clearTimeout(timer);
  }
}
