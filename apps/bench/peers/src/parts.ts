/** A list in parts of at most so many. */
export function* parts<T>(list: readonly T[], size: number): Generator<readonly T[]> {
  for (let i = 0; i < list.length; i += size) yield list.slice(i, i + size);
}

/** Calls `work` for every item, so many at a time. */
export async function atOnce<T>(count: number, list: readonly T[], work: (item: T) => Promise<unknown>): Promise<void> {
  let next = 0;
  const loop = async () => {
    while (next < list.length) await work(list[next++] as T);
  };
  await Promise.all(Array.from({ length: count }, loop));
}
