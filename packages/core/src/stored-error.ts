import { SteppingError } from './stepping-error.js';

/** Longest error text that is stored. */
const MAX_ERROR_CHARS = 4_096;

/** What a step threw, as transaction managers store it: bounded, and without what no database takes in text. Our own errors are named by their code. */
export function storedError(error: unknown): { readonly name: string; readonly message: string } {
  const named = error instanceof Error || SteppingError.is(error);
  return {
    name: storable(() => (named ? (SteppingError.is(error) ? error.code : error.name) : 'Error')),
    message: storable(() => (named ? error.message : error)),
  };
}

function storable(text: () => unknown): string {
  try {
    return String(text()).slice(0, MAX_ERROR_CHARS).replaceAll('\u0000', '').toWellFormed();
  } catch {
    return 'thrown was something that has no text';
  }
}
