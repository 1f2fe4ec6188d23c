// A mail server in a process of its own: `node smtp-server.js --mailbox FILE [--port N] [--seed N]`. It appends every mail to the mailbox and
// now and then asks to try again later.
import { appendFileSync, fsyncSync, openSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { parseArgs } from 'node:util';
import { SMTPServer } from 'smtp-server';
import { seededRandom } from './random.js';

/** A line of the mailbox. Time in ms since 1970. */
export interface Mail {
  readonly at: number;
  readonly to: readonly string[];
  readonly messageId: string;
  /** Of the order that it confirms. */
  readonly reference: string;
  readonly raw: string;
}

const { values: options } = parseArgs({
  options: { mailbox: { type: 'string' }, port: { type: 'string', default: '0' }, seed: { type: 'string', default: '1' } },
});
if (options.mailbox === undefined) throw new Error('Give the file of the mailbox: --mailbox FILE');

const mailbox = openSync(options.mailbox, 'a');
const random = seededRandom(Number(options.seed));

const smtp = new SMTPServer({
  disabledCommands: ['AUTH', 'STARTTLS'],
  disableReverseLookup: true,
  onData(stream, session, callback) {
    receive(
      stream,
      session.envelope.rcptTo.map(({ address }) => address),
    ).then(() => callback(null), callback);
  },
});
smtp.on('error', (error) => console.error(error));
const server = smtp.listen(Number(options.port), '127.0.0.1', () => {
  const { port } = server.address() as { port: number };
  console.log(`listening on smtp://127.0.0.1:${port}`);
});
process.once('SIGTERM', () => smtp.close(() => process.exit()));

async function receive(stream: NodeJS.ReadableStream, to: string[]): Promise<void> {
  const raw = await text(stream);
  if (random() < 0.02) throw Object.assign(new Error('the mailbox is busy, try again later'), { responseCode: 451 });
  const mail: Mail = { at: Date.now(), to, messageId: header(raw, 'Message-ID'), reference: header(raw, 'X-Order-Reference'), raw };
  appendFileSync(mailbox, `${JSON.stringify(mail)}\n`);
  fsyncSync(mailbox); // before we say that we have it
}

function header(raw: string, name: string): string {
  const head = raw.slice(0, raw.indexOf('\r\n\r\n')).replaceAll(/\r\n[ \t]+/g, ' ');
  const line = head.split('\r\n').find((one) => one.toLowerCase().startsWith(`${name.toLowerCase()}:`));
  return line === undefined ? '' : line.slice(name.length + 1).trim();
}
