/** For servers and processes on a machine that does other things, too. Unit: ms. */
const PATIENCE_MS = 120_000;

/** Waits for a condition. Rejects, with what was waited for and what it looks like, when that takes too long. */
export async function until(what: string, condition: () => boolean | Promise<boolean>, looks: () => unknown = () => ''): Promise<void> {
  const giveUpAt = performance.now() + PATIENCE_MS;
  while (!(await condition())) {
    if (performance.now() > giveUpAt) throw new Error(`Waited in vain until ${what}. ${JSON.stringify(await looks())}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
