import { z } from 'zod';

const Environment = z.object({
  /** `web` takes orders, `worker` runs steps, `all` does both. */
  STEPPING_ROLE: z.enum(['web', 'worker', 'all']).default('all'),
  STEPPING_DB: z.enum(['sqlite', 'postgres', 'mariadb', 'mongo']).default('sqlite'),
  /** A file for SQLite; a postgres://, mysql:// or mongodb:// URL for the others. */
  STEPPING_DB_URL: z.string().default('./shop.sqlite'),
  /** Puts the orders into a database of their own, of whatever kind: a file or a URL. */
  STEPPING_BUSINESS_DB: z.string().min(1).optional(),
  /** `local`: this service runs the steps. `dtm`: the DTM server at DTM_URL calls it for each. */
  STEPPING_TM: z.enum(['local', 'dtm']).default('local'),
  DTM_URL: z.url().default('http://127.0.0.1:36789'),
  /** Where the DTM server reaches this service; unless it is said, at HOST and PORT. */
  STEPPING_CALLBACK_URL: z.url().optional(),
  /** Signs what DTM calls; needed with it. */
  STEPPING_SECRET: z.string().min(1).optional(),
  /** Appends every start and end of a step to this file. */
  STEPPING_STEP_LOG: z.string().optional(),
  HOST: z.string().default('127.0.0.1'),
  PORT: z.coerce.number().int().min(0).default(3000),
  LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal']).default('info'),
  PAYMENT_URL: z.url(),
  PAYMENT_API_KEY: z.string(),
  SMTP_URL: z.url(),
});

export interface DatabaseConfig {
  readonly kind: 'sqlite' | 'postgres' | 'mariadb' | 'mongo';
  /** A file or a URL. */
  readonly at: string;
}

const WithSecret = Environment.refine((env) => env.STEPPING_TM === 'local' || env.STEPPING_SECRET !== undefined, {
  path: ['STEPPING_SECRET'],
  error: 'with STEPPING_TM=dtm: a long random text, the same for all who share the jobs',
});

/** The path of the callbacks. */
export const CALLBACK_PATH = '/stepping';

const parsed = WithSecret.safeParse(process.env);
if (!parsed.success) {
  console.error(`The environment of the order service is not right:\n${z.prettifyError(parsed.error)}`);
  process.exit(2);
}
const env = parsed.data;

export const config = {
  role: env.STEPPING_ROLE,
  /** Where the jobs are. */
  jobs: { kind: env.STEPPING_DB, at: env.STEPPING_DB_URL } as DatabaseConfig,
  /** Where the orders are; undefined: with the jobs. */
  shop: env.STEPPING_BUSINESS_DB === undefined ? undefined : databaseAt(env.STEPPING_BUSINESS_DB),
  /** Undefined: the local transaction manager. */
  dtm:
    env.STEPPING_TM === 'local'
      ? undefined
      : {
          serverUrl: env.DTM_URL,
          callbackUrl: env.STEPPING_CALLBACK_URL ?? `http://${env.HOST}:${env.PORT}${CALLBACK_PATH}`,
          secret: env.STEPPING_SECRET as string,
        },
  stepLog: env.STEPPING_STEP_LOG,
  listen: { host: env.HOST, port: env.PORT },
  logLevel: env.LOG_LEVEL,
  payment: { url: env.PAYMENT_URL, apiKey: env.PAYMENT_API_KEY },
  smtpUrl: env.SMTP_URL,
} as const;

function databaseAt(at: string): DatabaseConfig {
  if (/^postgres(ql)?:/.test(at)) return { kind: 'postgres', at };
  if (/^mongodb(\+srv)?:/.test(at)) return { kind: 'mongo', at };
  return { kind: /^(mysql|mariadb):/.test(at) ? 'mariadb' : 'sqlite', at };
}
