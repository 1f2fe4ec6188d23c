/**
 * What DTM makes of an answer to a callback. It looks at the status alone, since our answers have no body:
 * `DONE` – go on; `ROLLED_BACK` – only for questions: the message is over; `LATER` – ask again after the interval that you are at; `LATER_DOUBLED` – double that interval, then ask again.
 */
export const DONE = 200;
export const ROLLED_BACK = 409;
export const LATER = 425;
export const LATER_DOUBLED = 500;

/** To somebody who is not DTM, or a DTM that nothing of ours was given to. */
export const MALFORMED = 400;
export const FORGED = 403;
export const UNKNOWN = 404;
export const WRONG_METHOD = 405;
export const TOO_LARGE = 413;
