import { type Jobs, SteppingError } from '@stepping/core';

/** What an operator can do with jobs of a DTM server. */
export class DtmOperations implements Pick<Jobs, 'cancel' | 'purge' | 'stats'> {
  async cancel(): Promise<never> {
    throw unsupported(
      'cancel',
      'A message that was submitted runs to its end; DTM could only stop it by force, which it calls a failure, and a running step would not hear of it',
    );
  }

  async purge(): Promise<never> {
    throw unsupported(
      'purge',
      'The server keeps its messages for as long as its own settings say (DATA_EXPIRE of its store), and the databases their barriers for barrierRetentionMs',
    );
  }

  async stats(): Promise<never> {
    throw unsupported('stats', 'DTM counts no jobs by status. Its own metrics are at /api/metrics of the server');
  }
}

export function unsupported(verb: string, reason: string): SteppingError<'UNSUPPORTED_BY_TM'> {
  return new SteppingError('UNSUPPORTED_BY_TM', `jobs.${verb} is not possible with DTM. ${reason}.`, { verb });
}
