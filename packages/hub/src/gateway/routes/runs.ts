/** For callers that do not come back to what they asked under an Idempotency-Key: hanging up alone does not say so. */
import { IdlewildError } from '@idlewild/protocol';
import { z } from 'zod';
import type { Repeats } from '../../callers/repeats.ts';
import { checkName } from '../asking/repeat.ts';
import { principal, typed, type App } from '../server.ts';

export const runRoutes =
  ({ repeats }: { readonly repeats: Pick<Repeats, 'cancel'> }) =>
  (app: App): void => {
    typed(app).route({
      method: 'DELETE',
      url: '/v1/answers/:idempotencyKey',
      config: { action: 'answer', resource: 'later' },
      schema: {
        params: z.object({ idempotencyKey: z.string() }),
        summary: 'Cancels the answer that is being made under an Idempotency-Key of the same key',
        tags: ['answers'],
      },
      handler: async (request, reply) => {
        const asker = principal(request);
        const { idempotencyKey } = request.params;
        checkName(idempotencyKey);
        const name = { territory: asker.territory, key: asker.kind === 'key' ? asker.keyId : '', idempotencyKey };
        if (await repeats.cancel(name)) return reply.status(204).send();
        throw new IdlewildError('not_found', 'no answer is being made under this Idempotency-Key; it may have ended');
      },
    });
  };
