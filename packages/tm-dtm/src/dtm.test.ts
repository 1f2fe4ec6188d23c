import { createStepping, defineStep, type SteppingError } from '@stepping/core';
import { type DtmOptions, dtm } from './dtm.js';

const OPTIONS = { serverUrl: 'http://127.0.0.1:1', callbackUrl: 'http://127.0.0.1:2/', secret: 'one' };

function refusal(options: object): SteppingError {
  try {
    dtm({ ...OPTIONS, ...options } as DtmOptions);
  } catch (error) {
    return error as SteppingError;
  }
  throw new Error('It was taken.');
}

describe('dtm', () => {
  it('wants a secret, or to be told that it has none', () => {
    expect(refusal({ secret: undefined })).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('insecure: true') });
    for (const secret of ['', [], ['one', ''], 7]) expect(refusal({ secret }).code).toBe('CONFIG_INVALID');
    expect(() => dtm({ ...OPTIONS, secret: undefined, insecure: true })).not.toThrow();
    expect(() => dtm({ ...OPTIONS, secret: ['new', 'old'] })).not.toThrow();
  });

  it('never shows its secret', () => {
    expect(JSON.stringify(refusal({ secret: ['my word', ''] }))).not.toContain('my word');
  });

  it('wants the URL of a server', () => {
    for (const serverUrl of ['dtm:36789', 'localhost', undefined, 'grpc://dtm:36790']) {
      expect(refusal({ serverUrl })).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('serverUrl') });
    }
  });

  it('wants credentials in it that can be read, and shows none', () => {
    const error = refusal({ serverUrl: 'http://me:100%word@dtm:36789' });
    expect(error).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('%25') });
    expect(JSON.stringify(error)).not.toContain('word@');
    expect(() => dtm({ ...OPTIONS, serverUrl: 'http://me:100%25word@dtm:36789' })).not.toThrow();
  });

  it('wants times in milliseconds', () => {
    for (const option of ['retryIntervalMs', 'requestTimeoutMs', 'prepareTimeoutMs']) {
      for (const ms of [0, -1, Number.NaN, Number.POSITIVE_INFINITY, '10'])
        expect(refusal({ [option]: ms })).toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining(option) });
    }
  });

  it('refuses to start with steps of bounded attempts and nobody to count them, naming both', async () => {
    const step = defineStep({ name: 'mail.send', retry: { maxAttempts: 3 }, run() {} });
    const stepping = createStepping({ steps: [step], tm: dtm(OPTIONS) });
    await expect(stepping.start()).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringMatching(/mail\.send.*maxAttempts.*typeormDb/),
    });
  });
});
