/** The time of the server in UTC, when the statement began: the same in every row of it. Whatever the time zone of a user's connection is. */
export const NOW = 'utc_timestamp(6)';

/** So many ms from now. */
export const inMs = (ms: string) => `${NOW} + interval ${ms} * 1000 microsecond`;

/** So many ms ago. */
export const msAgo = (ms: string) => `${NOW} - interval ${ms} * 1000 microsecond`;

/** A time as ms since 1970. */
export const epochMs = (column: string) => `timestampdiff(microsecond, '1970-01-01', ${column}) div 1000`;

/** How long ago a time was, in ms. */
export const ageMs = (column: string) => `timestampdiff(microsecond, ${column}, ${NOW}) div 1000`;
