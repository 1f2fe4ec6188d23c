import { type CallbackUrl, CallbackUrls } from './callback-urls.js';

const ofDefault = (callbackUrl: CallbackUrl) => new CallbackUrls(callbackUrl).step('default', 's-1');

describe('Callback URLs', () => {
  it('say what is asked, with the signature, after whatever the URL has already', () => {
    expect(ofDefault('http://orders:8080/stepping')).toBe('http://orders:8080/stepping?stepping=step&s=s-1');
    expect(ofDefault(new URL('https://orders/x?tenant=a%2Fb&y#hash'))).toBe('https://orders/x?tenant=a%2Fb&y&stepping=step&s=s-1');
    const urls = new CallbackUrls('http://orders');
    expect(urls.question(undefined, 'default', 'q-1', 's-1')).toBe('http://orders/?stepping=question&q=q-1&s=s-1');
    expect(urls.selfTest('default', 's-1')).toBe('http://orders/?stepping=self-test&s=s-1');
  });

  it('may be one for each queue; questions about a database go to who knows it, by a name of its own', () => {
    const urls = new CallbackUrls((queue) => `http://${queue === 'mail' ? 'mail' : 'orders'}/`);
    expect(urls.step('mail', 's')).toMatch(/^http:\/\/mail\//);
    expect(urls.step('default', 's')).toMatch(/^http:\/\/orders\//);
    expect(urls.question(undefined, 'mail', 'q', 's')).toMatch(/^http:\/\/mail\//);
    const asked: string[] = [];
    new CallbackUrls((queue) => {
      asked.push(queue);
      return 'http://orders';
    }).question({ provider: 'typeorm', name: 'shop', tenant: 'acme' }, 'mail', 'q', 's');
    expect(asked).toEqual(['~db/typeorm/shop']);
  });

  it('are shown without what is behind the ?, which may be a key', () => {
    expect(new CallbackUrls('https://gate/x?key=abc').shown('default')).toBe('https://gate/x?…');
    expect(new CallbackUrls('https://gate/x').shown('default')).toBe('https://gate/x');
  });

  it('are refused where DTM could not call them, or would log a secret', () => {
    const refused = (url: unknown, problem: string) => {
      const expected = expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining(problem) });
      expect(() => new CallbackUrls(url as CallbackUrl)).toThrow(expected);
      expect(() => ofDefault((() => url) as CallbackUrl)).toThrow(expected);
    };
    refused('orders/stepping', 'no URL');
    refused(undefined, 'undefined');
    refused('ftp://orders', 'ftp:');
    refused('http://user:word@orders', 'user name or password');
    refused('http://orders?gid=1', 'parameter gid');
    refused('http://orders?stepping=x', 'parameter stepping');
  });

  it('are refused when they are longer than what DTM stores', () => {
    expect(() => ofDefault(`http://orders/${'x'.repeat(1_100)}`)).toThrow(
      expect.objectContaining({ code: 'JOB_TOO_LARGE', message: expect.stringContaining('1024') }),
    );
  });
});
