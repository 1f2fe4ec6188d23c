import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { z } from 'zod';
import type { OrderLine } from '../service/shop.js';
import { OrderLines } from './place-orders.js';

export interface DemoOptions {
  readonly db: 'sqlite' | 'postgres' | 'mariadb' | 'mongo';
  readonly tm: 'local' | 'dtm';
  /** The orders in one database, the jobs in another. */
  readonly twoDatabases: boolean;
  readonly orders: number;
  readonly kills: number;
  readonly seed: number;
  readonly lines: readonly OrderLine[];
}

export const USAGE = `demo: an order service that is killed in the middle of its work, and what became of its orders

  --db DATABASE          where the jobs and the orders are: sqlite (which it is unless said), postgres, mariadb or mongo. A server: the one at
                         STEPPING_DB_URL, or one that is started for the demo
  --tm MANAGER           what runs the steps: local (the shop itself, unless said) or dtm (a DTM server, which is started for the demo, and killed once as well)
  --two-databases        the orders in another database than the jobs
  --orders N             how many orders are placed (300)
  --kills N              how often the service is killed (3)
  --seed N               makes the orders, and what goes wrong at the payment provider, the same again (drawn)
  --lines FILE           the lines that orders are made of: a JSON list of { "sku", "quantity", "unitPrice" } (order-lines.json)
`;

/** Fewer orders than this for each kill, and the work could be done before the last one. */
const ORDERS_PER_KILL = 10;

/** Ends the process, saying why, when the arguments are not right. */
export function readOptions(args: readonly string[]): DemoOptions {
  try {
    const { values } = parseArgs({
      args: args.filter((arg) => arg !== '--'),
      options: {
        db: { type: 'string', default: 'sqlite' },
        tm: { type: 'string', default: 'local' },
        'two-databases': { type: 'boolean', default: false },
        orders: { type: 'string', default: '300' },
        kills: { type: 'string', default: '3' },
        seed: { type: 'string' },
        lines: { type: 'string' },
        help: { type: 'boolean', short: 'h', default: false },
      },
    });
    if (values.help) {
      console.log(USAGE);
      process.exit(0);
    }
    const kills = wholeNumber('--kills', values.kills, 0);
    const tm = z.enum(['local', 'dtm'], '--tm is local or dtm').parse(values.tm);
    if (tm === 'dtm' && values['two-databases'])
      throw new Error('--two-databases puts the jobs in a database of their own; with --tm dtm they are in none');
    return {
      tm,
      db: z.enum(['sqlite', 'postgres', 'mariadb', 'mongo'], '--db is sqlite, postgres, mariadb or mongo').parse(values.db),
      twoDatabases: values['two-databases'],
      orders: wholeNumber('--orders', values.orders, Math.max(1, kills * ORDERS_PER_KILL)),
      kills,
      seed: values.seed === undefined ? Math.floor(Math.random() * 1_000_000) : wholeNumber('--seed', values.seed, 0),
      lines: readLines(values.lines),
    };
  } catch (error) {
    console.error(`${error instanceof z.ZodError ? z.prettifyError(error) : (error as Error).message}\n\n${USAGE}`);
    process.exit(2);
  }
}

function wholeNumber(option: string, value: string, least: number): number {
  const number = Number(value);
  if (Number.isInteger(number) && number >= least) return number;
  throw new Error(`${option} is a whole number, here at least ${least}, not ${value}`);
}

function readLines(option: string | undefined): readonly OrderLine[] {
  // A path is meant from where the user stands, which a package manager keeps in INIT_CWD.
  const file = option === undefined ? new URL('../../order-lines.json', import.meta.url) : resolve(process.env.INIT_CWD ?? '', option);
  const parsed = OrderLines.safeParse(JSON.parse(readFileSync(file, 'utf8')));
  if (parsed.success) return parsed.data;
  throw new Error(`The order lines in ${option} are not right:\n${z.prettifyError(parsed.error)}`);
}
