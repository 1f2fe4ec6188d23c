import type { QueryRunner } from 'typeorm';

/** How TypeORM, of whatever version, may put it. */
export const BEGIN = /^\s*(begin|start transaction)\b/i;
export const COMMIT = /^\s*(commit|end)\b/i;

/** Sends a statement of TypeORM's in its stead. */
export type Send = (query: (sql: string) => Promise<unknown>, sql: string) => Promise<unknown>;

/**
 * Runs `work` of TypeORM, whose statement of this kind is sent by `send`: with another one in the same text, or after a look. Its subscribers are told as ever. Answers whether there was such a
 * statement.
 */
export async function sentBy(runner: QueryRunner, kind: RegExp, send: Send, work: () => Promise<void>): Promise<boolean> {
  const { query } = runner;
  let sent = false;
  runner.query = ((sql: string, ...rest: unknown[]) => {
    if (sent || !kind.test(sql)) return Reflect.apply(query, runner, [sql, ...rest]);
    sent = true;
    return send((text) => Reflect.apply(query, runner, [text, ...rest]) as Promise<unknown>, sql);
  }) as typeof query;
  try {
    await work();
  } finally {
    runner.query = query;
  }
  return sent;
}
