import type { PostgresClient, PostgresStatement } from './postgres-lane.js';

/** What we use of `pg` beyond its public types: the statements that the server has parsed on this connection, by name. */
interface ParsedStatements {
  readonly connection?: { readonly parsedStatements?: Readonly<Record<string, string | undefined>> };
  escapeLiteral?(text: string): string;
}

/** Longer values cost more to write into a text than a trip. */
const MAX_CHARS = 8_192;
/** In any encoding of the connection these are the same bytes, and none of them is a part of another character. */
const ASCII = /^[\x20-\x7e]*$/;
/** ASCII without what a literal has to escape; the driver escapes character by character. */
const AS_IT_IS = /^[\x20-\x26\x28-\x5b\x5d-\x7e]*$/;

/**
 * A prepared statement with its values as one text, which can go in one trip with others. Undefined where this connection has not prepared it yet, or a value is better sent as a parameter: long,
 * or not of plain ASCII.
 */
export function executeText(client: PostgresClient, { name, text }: PostgresStatement, values: readonly unknown[]): string | undefined {
  const { connection, escapeLiteral } = client as PostgresClient & ParsedStatements;
  if (name === undefined || escapeLiteral === undefined || connection?.parsedStatements?.[name] !== text) return undefined;
  let literals = '';
  for (const value of values) {
    const literal = typeof value === 'string' ? textLiteral(value, escapeLiteral) : String(value);
    if (literal === undefined) return undefined;
    literals += literals === '' ? literal : `, ${literal}`;
    if (literals.length > MAX_CHARS) return undefined;
  }
  return `execute ${name}(${literals})`;
}

function textLiteral(text: string, escapeLiteral: (text: string) => string): string | undefined {
  if (text.length > MAX_CHARS) return undefined;
  if (AS_IT_IS.test(text)) return `'${text}'`;
  return ASCII.test(text) ? escapeLiteral(text) : undefined;
}
