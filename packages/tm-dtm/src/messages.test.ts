import { type NewJob, newGid } from '@stepping/core';
import { CallbackUrls } from './callback-urls.js';
import type { DtmBranch, DtmMessage, DtmTransaction } from './dtm-server.js';
import { Messages } from './messages.js';
import { Signatures } from './signatures.js';
import { wireGid } from './wire-gid.js';

const OPTIONS = { timeout_to_fail: 9, retry_interval: 10, request_timeout: 5 };
const messagesWith = (...secrets: string[]) => new Messages(new CallbackUrls('http://orders/'), new Signatures(secrets), OPTIONS);

const job: NewJob = {
  gid: 'order-1',
  instance: newGid(),
  drawn: false,
  tenant: 'acme',
  db: { provider: 'typeorm', name: 'shop' },
  steps: [
    { name: 'pack', queue: 'default', args: '{"n":1}' },
    { name: 'ship', queue: 'slow', args: undefined },
  ],
};

/** As a server gives it back. */
function stored(message: DtmMessage): { transaction: DtmTransaction; branches: DtmBranch[] } {
  const branches = message.steps.map(({ action }, index): DtmBranch => {
    return { branch_id: `0${index + 1}`, op: 'action', status: 'prepared', url: action, payload: message.payloads[index] ?? '' };
  });
  return { transaction: { gid: message.gid, trans_type: 'msg', status: 'prepared', query_prepared: message.query_prepared }, branches };
}

describe('A message', () => {
  it('carries all that its callbacks need, and is read back as it was written', () => {
    const messages = messagesWith('one');
    const ledger = { provider: 'typeorm', name: 'shop' };
    const message = messages.ofJob(job, ledger);
    const { transaction, branches } = stored(message);
    expect(message).toMatchObject({ gid: wireGid('order-1'), trans_type: 'msg', ...OPTIONS });
    expect(messages.questionOf(transaction)).toMatchObject({ gid: 'order-1', instance: job.instance, tenant: 'acme', db: job.db });
    const shared = { v: 1, gid: 'order-1', instance: job.instance, of: 2, generation: 0, tenant: 'acme', ledger };
    expect(branches.map((branch) => messages.stepOf(message.gid, branch))).toEqual([
      { ...shared, position: 0, step: 'pack', queue: 'default', args: '{"n":1}' },
      { ...shared, position: 1, step: 'ship', queue: 'slow' },
    ]);
    expect(messages.ofStored(transaction, branches)).toEqual(message);
  });

  it('leaves it to another service which database remembers what became of its steps', () => {
    const messages = messagesWith('one');
    const { gid, payloads } = messages.ofJob(job, { provider: 'typeorm', name: 'shop' }, (step) => step === 'pack');
    expect(gid).toBe(wireGid('order-1'));
    expect(payloads.map((payload) => JSON.parse(payload).ledger?.name)).toEqual(['shop', undefined]);
  });

  it('has no more steps than DTM keeps in order', () => {
    const long = (steps: number) => ({
      ...job,
      steps: Array.from({ length: steps }, () => ({ name: 'pack', queue: 'default', args: undefined })),
    });
    expect(messagesWith('one').ofJob(long(1_000), undefined).steps).toHaveLength(1_000);
    expect(() => messagesWith('one').ofJob(long(1_001), undefined)).toThrow(
      expect.objectContaining({ code: 'JOB_TOO_LARGE', message: expect.stringContaining('at most 1000') }),
    );
  });

  it('has no secret in it, and no headers, which DTM would copy to every host', () => {
    const message = messagesWith('a very secret word').ofJob(job, undefined);
    expect(JSON.stringify(message)).not.toContain('secret');
    expect(message).not.toHaveProperty('branch_headers');
  });

  it('is read with each of the secrets, and signed with the first', () => {
    const [former, now] = [messagesWith('old'), messagesWith('new', 'old')];
    const { transaction } = stored(former.ofJob(job, undefined));
    expect(now.questionOf(transaction)?.gid).toBe('order-1');
    expect(former.questionOf(stored(now.ofJob(job, undefined)).transaction)).toBeUndefined();
  });

  it('is not read when it was not signed by us: a redrive would sign it anew', () => {
    const messages = messagesWith('one');
    const message = messages.ofJob(job, undefined);
    const { transaction, branches } = stored(message);
    const [first, second] = branches as [DtmBranch, DtmBranch];
    expect(messages.stepOf(message.gid, { ...first, payload: first.payload.replace('acme', 'other') })).toBeUndefined();
    expect(messages.stepOf(message.gid, { ...first, branch_id: '02' })).toBeUndefined();
    expect(messages.stepOf(newGid(), first)).toBeUndefined();
    expect(messages.stepOf(message.gid, { ...first, url: second.url ?? '' })).toBeUndefined();
    expect(messages.questionOf({ ...transaction, gid: newGid() })).toBeUndefined();
    for (const query_prepared of ['', 'no url', 'http://orders/', 'http://orders/?q=e30&s='])
      expect(messages.questionOf({ ...transaction, query_prepared })).toBeUndefined();
  });

  it('of a redrive has the steps that are left, under a gid of its own, and asks about no transaction', () => {
    const messages = messagesWith('one');
    const first = stored(messages.ofJob(job, undefined));
    const question = messages.questionOf(first.transaction);
    const left = messages.stepOf(first.transaction.gid, first.branches[1] as DtmBranch);
    if (!question || !left) throw new Error('not read');
    const redriven = messages.ofRedrive([left], question, 2, 'token');
    const { transaction, branches } = stored(redriven);
    expect(redriven.gid).toBe(wireGid('order-1', 2));
    expect(messages.questionOf(transaction)).toMatchObject({ gid: 'order-1', instance: job.instance, redrive: 'token' });
    expect(messages.questionOf(transaction)).not.toHaveProperty('db');
    expect(branches.map((branch) => messages.stepOf(redriven.gid, branch))).toEqual([{ ...left, generation: 2 }]);
  });
});
