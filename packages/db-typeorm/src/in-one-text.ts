import type { QueryRunner } from 'typeorm';

/** Runs `work` of TypeORM, whose statement `sql` is sent as `text` makes it: with another statement, in one trip. Its subscribers are told as ever. */
export async function inOneText(runner: QueryRunner, sql: string, text: (sql: string) => string, work: () => Promise<void>): Promise<void> {
  const { query } = runner;
  runner.query = ((sent: string, ...rest: unknown[]) =>
    Reflect.apply(query, runner, [sent === sql ? text(sent) : sent, ...rest])) as typeof query;
  try {
    await work();
  } finally {
    runner.query = query;
  }
}
