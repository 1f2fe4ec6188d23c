import { createStepping, type Stepping } from '@stepping/core';
import { type OnceResult, once, typeormDb } from '@stepping/db-typeorm';
import { localTm, memoryStore } from '@stepping/tm-local';
import { type DataSource, EntitySchema } from 'typeorm';
import { z } from 'zod';

/** What a sender asks for. */
export const Transfer = z.object({ account: z.string().min(1), amount: z.number().int().positive() });
export type Transfer = z.output<typeof Transfer>;

/** What a sender says with every repeat of one request. */
export const IdempotencyKey = z.string('the header Idempotency-Key is missing').min(1).max(200);

export interface Account {
  id: string;
  balance: number;
}

export const Account = new EntitySchema<Account>({
  name: 'account',
  columns: { id: { type: String, primary: true }, balance: { type: Number } },
});

/** For longer than any sender repeats a request: one that comes later would be booked again. Unit: ms. */
const KEYS_ARE_KEPT_MS = 60 * 24 * 3_600_000;

/** An app that runs no jobs: it makes the table of barriers, and sweeps old keys out of it. */
export function receiverApp(dataSource: DataSource): Stepping {
  return createStepping({
    tm: localTm({ store: memoryStore() }),
    use: [typeormDb({ dataSource, barrierRetentionMs: KEYS_ARE_KEPT_MS })],
  });
}

/** Books a transfer, unless it was booked under this key before. Both are in one transaction. */
export function bookTransfer(dataSource: DataSource, key: string, { account, amount }: Transfer): Promise<OnceResult<void>> {
  return once(dataSource, key, async (bank) => {
    const booked = await bank.increment(Account, { id: account }, 'balance', amount);
    if (booked.affected === 0) throw new UnknownAccount(account);
  });
}

/** Rolls the transfer back, and its key with it: a repeat asks again. */
export class UnknownAccount extends Error {
  constructor(account: string) {
    super(`There is no account ${account}`);
  }
}
