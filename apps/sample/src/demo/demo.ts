// `pnpm demo`: starts the shop and all it talks to, places orders, kills the shop while a payment is under way, starts it again, and looks
// from outside at what became of the orders. Its exit code is 0 if all is well.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { audit } from './audit.js';
import { type DemoDatabases, makeDatabases } from './databases.js';
import { DemoRun } from './demo-run.js';
import { type DemoOptions, readOptions } from './options.js';
import { Processes } from './processes.js';
import { printReport } from './report.js';

const options = readOptions(process.argv.slice(2));
const directory = mkdtempSync(join(tmpdir(), 'stepping-demo-'));
const processes = new Processes(directory);
let interrupted = false;
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, async () => {
    interrupted = true;
    await processes.end();
    rmSync(directory, { recursive: true, force: true });
    process.exit(130);
  });
}

// Not by itself: where the demo failed, its clients go on posting to a shop that is gone.
process.exit((await run()) ? 0 : 1);

async function run(): Promise<boolean> {
  console.log(
    `${options.orders} orders, ${options.kills} kills, ${describeDatabases(options)}${options.tm === 'dtm' ? ', jobs with a DTM server' : ''}, seed ${options.seed}`,
  );
  const startedAt = Date.now();
  let databases: DemoDatabases | undefined;
  let passed = false;
  try {
    databases = await makeDatabases(options, directory, processes);
    const evidence = await Promise.race([new DemoRun(options, { directory, processes, databases }).run(), processes.unexpectedEnd]);
    const findings = audit(evidence);
    printReport(findings, { seconds: (Date.now() - startedAt) / 1_000, kills: options.kills });
    passed = findings.problems.length === 0;
    if (passed) await databases.remove();
  } catch (error) {
    if (!interrupted) console.error(`\nThe demo failed: ${(error as Error).message}`);
  }
  await processes.end();
  if (interrupted) return false;
  if (passed) rmSync(directory, { recursive: true, force: true });
  else console.error(`\nDatabases, ledger, mailbox and logs are kept in ${directory}\nThe same again: pnpm demo ${sameArguments()}`);
  return passed;
}

function describeDatabases({ db, twoDatabases }: DemoOptions): string {
  const kind = { sqlite: 'SQLite', postgres: 'PostgreSQL', mariadb: 'MariaDB', mongo: 'MongoDB' }[db];
  return twoDatabases ? `orders and jobs in two ${kind} databases` : `one ${kind} database`;
}

/** Those of this run, with the seed that was drawn. */
function sameArguments(): string {
  const args = process.argv.slice(2);
  return [...args, ...(args.some((arg) => arg.startsWith('--seed')) ? [] : ['--seed', options.seed])].join(' ');
}
