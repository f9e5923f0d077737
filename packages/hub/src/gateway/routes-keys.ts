/** Keys of a territory, under /api. Their limits and what they used are in `routes-callers.ts`. */
import { z } from 'zod';
import { actorOf } from '../identity/principal.ts';
import { BUILT_IN_ROLES } from '../policy/built-in-roles.ts';
import type { ApiDeps } from './api-deps.ts';
import { keyLimitsSchema, limitsView } from './routes-callers.ts';
import { onId } from './resources.ts';
import { principal, typed, type App } from './server.ts';
import { idParams, iso, isoOrNull } from './views.ts';

const DAY_SECONDS = 86_400;

export const keyRoutes =
  (deps: ApiDeps) =>
  (app: App): void => {
    const { territory, keys } = deps;
    typed(app).route({
      method: 'GET',
      url: '/api/keys',
      config: { action: 'listKeys' },
      schema: { summary: 'All keys, without their secrets', tags: ['keys'] },
      handler: async () =>
        (await keys.list(territory.id)).map((key) => ({
          id: key.id,
          role: key.role,
          name: key.name,
          createdAt: iso(key.createdAtMs),
          expiresAt: isoOrNull(key.expiresAtMs),
          revokedAt: isoOrNull(key.revokedAtMs),
          ...limitsView(key),
        })),
    });
    typed(app).route({
      method: 'POST',
      url: '/api/keys',
      config: { action: 'createKey' },
      schema: {
        body: z.strictObject({
          role: z.enum(BUILT_IN_ROLES),
          name: z.string().max(64).optional(),
          expiresInSeconds: z
            .int()
            .min(1)
            .max(3_650 * DAY_SECONDS)
            .optional(),
          ...keyLimitsSchema,
        }),
        summary: 'Makes a key; its text is shown this once',
        tags: ['keys'],
      },
      handler: async (request, reply) => {
        const { role, name, expiresInSeconds, requestsPerMinute, tokensPerMinute } = request.body;
        const expiresInMs = expiresInSeconds === undefined ? undefined : expiresInSeconds * 1000;
        const made = await keys.create({
          territory: territory.id,
          role,
          actor: actorOf(principal(request)),
          ...(name === undefined ? {} : { name }),
          ...(expiresInMs === undefined ? {} : { expiresInMs }),
          limits: {
            ...(requestsPerMinute === undefined ? {} : { requestsPerMinute }),
            ...(tokensPerMinute === undefined ? {} : { tokensPerMinute }),
          },
        });
        return reply
          .status(201)
          .send({ ...made, expiresAt: expiresInMs === undefined ? null : iso(deps.nowMs() + expiresInMs) });
      },
    });
    typed(app).route({
      method: 'DELETE',
      url: '/api/keys/:id',
      config: { action: 'revokeKey', resource: onId },
      schema: { params: idParams, summary: 'Revokes a key', tags: ['keys'] },
      handler: async (request, reply) => {
        await keys.revoke({ territory: territory.id, id: request.params.id, actor: actorOf(principal(request)) });
        return reply.status(204).send();
      },
    });
  };
