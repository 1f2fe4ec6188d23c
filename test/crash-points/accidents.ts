/** What can happen to a call. "Not heard": the caller gets the error of a broken connection. */
export const ACCIDENTS = [
  /** The process is gone before it made the call; its connections are closed. */
  'crash before',
  /** The process is gone after the call was done, before it heard of that. */
  'crash after',
  /** Done, but not heard. */
  'answer lost',
  /** Not done, and not heard. */
  'not done',
  /** Not heard, and done when others have begun to recover. */
  'lands during recovery',
  /** Not heard, and done when all is over. */
  'lands at the end',
  /** The whole process stops in front of the call for longer than its lease, and goes on. */
  'sleeps',
  /** The same, until its job has been purged. */
  'sleeps past the purge',
  /** The server has ended the transaction before the call, for a write conflict or a fail-over, and says so: the driver runs the body again. */
  'ended by the server',
  /** Not done, and the driver does not know: it is sent again, and heard. */
  'commit sent again',
  /** Done, and the driver does not know: it is sent again, and heard. */
  'done commit sent again',
] as const;

/** Those that a driver mends by itself: nobody may be told that the outcome is unknown. */
export const MENDED: ReadonlySet<string> = new Set<AccidentKind>(['ended by the server', 'commit sent again', 'done commit sent again']);

export type AccidentKind = (typeof ACCIDENTS)[number];

/** An accident of one run: at the n-th call (from 1) of a kind. */
export interface Accident {
  readonly kind: AccidentKind;
  readonly call: string;
  readonly nth: number;
}

export function describeAccident({ kind, call, nth }: Accident): string {
  return `${kind} @ ${call} #${nth}`;
}

/** What a caller gets when a connection breaks: an error that no database has sent. */
export class ConnectionLost extends Error {
  override readonly name = 'ConnectionLost';
}

/** Nothing that a dead process still does is heard by a database. It rejects, so that what it holds inside this Node process (a turn) is let go. */
export class ProcessDied extends Error {
  override readonly name = 'ProcessDied';
}
