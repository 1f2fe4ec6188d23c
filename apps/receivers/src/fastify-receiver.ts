import { SteppingError } from '@stepping/core';
import { type FastifyInstance, fastify } from 'fastify';
import type { DataSource } from 'typeorm';
import { z } from 'zod';
import { bookTransfer, IdempotencyKey, Transfer, UnknownAccount } from './bank.js';

/** A bank on Fastify. What it answers is what an `httpStep` of the sender understands: 2xx is done, 400 and 422 are of no use again, anything else is. */
export function fastifyBank(dataSource: DataSource): FastifyInstance {
  const app = fastify();

  app.post('/transfers', async (request, reply) => {
    const key = IdempotencyKey.parse(request.headers['idempotency-key']);
    const transfer = Transfer.parse(request.body);
    const { ran } = await bookTransfer(dataSource, key, transfer);
    return reply.code(ran ? 201 : 200).send({ booked: transfer });
  });

  app.setErrorHandler((error, _request, reply) => {
    if (error instanceof z.ZodError) return reply.code(400).send({ message: z.prettifyError(error) });
    if (error instanceof UnknownAccount) return reply.code(422).send({ message: error.message });
    // Nobody knows whether it was committed: the sender asks again with the same key, and finds out.
    if (SteppingError.is(error)) return reply.code(503).header('retry-after', '1').send({ code: error.code, message: error.message });
    return reply.send(error);
  });
  return app;
}
