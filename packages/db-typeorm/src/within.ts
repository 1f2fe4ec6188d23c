/** What `work` settles with, or an error when it has not by then: a promise of somebody else may never settle. Unit: ms. */
export async function within<T>(ms: number, what: string, work: () => T | Promise<T>): Promise<T> {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`${what} took more than ${ms} ms`)), ms);
  try {
    return await Promise.race([(async () => work())(), late]);
  } finally {
    clearTimeout(timer);
  }
}
