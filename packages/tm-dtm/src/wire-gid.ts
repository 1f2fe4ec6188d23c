import { gidFrom } from '@stepping/core';

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/**
 * The gid of a job's message on the server: always 36 characters, as a gid that begins with another one makes DTM lose steps (its boltdb finds them by prefix), and stores that ignore
 * case take two for one. Data at rest there. `generation`: 0, and one more with each redrive, which is a message of its own.
 */
export function wireGid(gid: string, generation = 0): string {
  if (generation > 0) return gidFrom('dtm', gid, 'redrive', String(generation));
  return UUID.test(gid) ? gid : gidFrom('dtm', gid);
}
