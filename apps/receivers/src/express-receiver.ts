import { SteppingError } from '@stepping/core';
import express, { type ErrorRequestHandler, type Express } from 'express';
import type { DataSource } from 'typeorm';
import { z } from 'zod';
import { bookTransfer, IdempotencyKey, Transfer, UnknownAccount } from './bank.js';

/** The same bank on Express. */
export function expressBank(dataSource: DataSource): Express {
  const app = express();
  app.use(express.json());

  app.post('/transfers', async (request, response) => {
    const key = IdempotencyKey.parse(request.get('idempotency-key'));
    const transfer = Transfer.parse(request.body);
    const { ran } = await bookTransfer(dataSource, key, transfer);
    response.status(ran ? 201 : 200).json({ booked: transfer });
  });

  // Four parameters make it a handler of errors.
  const onError: ErrorRequestHandler = (error, _request, response, next) => {
    if (error instanceof z.ZodError) response.status(400).json({ message: z.prettifyError(error) });
    else if (error instanceof UnknownAccount) response.status(422).json({ message: error.message });
    // Nobody knows whether it was committed: the sender asks again with the same key, and finds out.
    else if (SteppingError.is(error)) response.status(503).set('retry-after', '1').json({ code: error.code, message: error.message });
    else next(error);
  };
  app.use(onError);
  return app;
}
