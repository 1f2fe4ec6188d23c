import { describe, expect, it } from '@jest/globals';
import { jobInfo } from './job-info.js';
import type { StoredJob } from './transaction-store.js';

const STORED: StoredJob = {
  gid: 'job',
  instance: 'i',
  status: 'submitted',
  queue: 'default',
  step: 1,
  attempt: 1,
  lease: 5,
  held: false,
  tenant: undefined,
  db: undefined,
  steps: '{"v":1,"steps":[{"n":"first","a":{"x":1}},{"n":"second"}]}',
  createdAt: new Date(1),
  dueAt: new Date(2),
  finishedAt: undefined,
  error: undefined,
};

describe('a stored job, as operators see it,', () => {
  it('has the steps that have run, and those that wait', () => {
    expect(jobInfo(STORED).steps).toEqual([
      { name: 'first', status: 'succeeded', args: { x: 1 } },
      { name: 'second', status: 'waiting', args: undefined },
    ]);
  });

  it.each([
    ['text that is none of ours', '{"v":1,"st', 'cannot be read here: Unterminated string'],
    ['a later format', '{"v":2,"plan":[]}', 'this release reads 1'],
  ])('is shown without its steps, and says why, where they are %s', (_, steps, why) => {
    expect(jobInfo({ ...STORED, steps })).toMatchObject({ gid: 'job', steps: [], lastError: { message: expect.stringContaining(why) } });
    const error = { name: 'Error', message: 'of the last attempt' };
    expect(jobInfo({ ...STORED, steps, error }).lastError).toEqual(error);
  });
});
