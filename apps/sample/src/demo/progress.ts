/** How often a terminal is refreshed, and how often a line is written where there is none. Unit: ms. */
const REFRESH_MS = 100;
const LINE_EVERY_MS = 2_000;

/** Shows `line()` until it is ended: in place on a terminal, as plain lines elsewhere. */
export function showProgress(line: () => string, output: NodeJS.WriteStream = process.stdout): { end(): void } {
  let shown = '';
  const show = () => {
    const next = line();
    if (output.isTTY) output.write(`\r\x1b[2K${next.slice(0, output.columns - 1)}`);
    else if (next !== shown) output.write(`${next}\n`);
    shown = next;
  };
  const timer = setInterval(show, output.isTTY ? REFRESH_MS : LINE_EVERY_MS);
  return {
    end() {
      clearInterval(timer);
      show();
      if (output.isTTY) output.write('\n');
    },
  };
}
