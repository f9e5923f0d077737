/** Keys of a territory and of people, under /api. Their limits and what they used are in `routes/callers.ts`. */
import { DATA_CLASSES } from '@idlewild/protocol';
import { z } from 'zod';
import type { NewKey } from '../../identity/keys.ts';
import type { KeyWish, ListedKey } from '../../people/key-desk.ts';
import type { ApiDeps } from '../api-deps.ts';
import { onId } from './resources.ts';
import { keyLimitsSchema, limitsView } from './callers.ts';
import { principal, typed, type App } from '../server.ts';
import { idParams, iso, isoOrNull, nameField } from './views.ts';

const DAY_SECONDS = 86_400;
const tags = ['keys'];

const body = z.strictObject({
  role: z.string().max(64),
  name: nameField(64).optional(),
  expiresInSeconds: z
    .int()
    .min(1)
    .max(3_650 * DAY_SECONDS)
    .optional(),
  /** Id of the project on whose account it asks. */
  project: z.string().max(64).optional(),
  dataClass: z.enum(DATA_CLASSES).optional(),
  ...keyLimitsSchema,
});

function wishOf({
  expiresInSeconds,
  requestsPerMinute,
  tokensPerMinute,
  name,
  ...wish
}: z.infer<typeof body>): KeyWish {
  return {
    ...wish,
    ...(name === undefined ? {} : { name }),
    ...(expiresInSeconds === undefined ? {} : { expiresInMs: expiresInSeconds * 1_000 }),
    limits: {
      ...(requestsPerMinute === undefined ? {} : { requestsPerMinute }),
      ...(tokensPerMinute === undefined ? {} : { tokensPerMinute }),
    },
  };
}

const keyView = (key: ListedKey): object => ({
  id: key.id,
  role: key.role,
  name: key.name,
  person: key.person === undefined ? null : { id: key.person, name: key.personName ?? null },
  project: key.project ?? null,
  dataClass: key.dataClass,
  createdAt: iso(key.createdAtMs),
  expiresAt: isoOrNull(key.expiresAtMs),
  revokedAt: isoOrNull(key.revokedAtMs),
  lastUsedDay: key.lastUsedDay ?? null,
  ...limitsView(key),
});

export const keyRoutes =
  (deps: ApiDeps) =>
  (app: App): void => {
    const { territory, people } = deps;
    const { keyDesk } = people;
    const madeView = (made: NewKey, { expiresInSeconds }: z.infer<typeof body>): object => ({
      ...made,
      expiresAt: expiresInSeconds === undefined ? null : iso(deps.nowMs() + expiresInSeconds * 1_000),
    });
    typed(app).route({
      method: 'GET',
      url: '/api/keys',
      config: { action: 'listKeys' },
      schema: { summary: 'All keys, without their secrets', tags },
      handler: async () => (await keyDesk.list(territory.id)).map(keyView),
    });
    typed(app).route({
      method: 'POST',
      url: '/api/keys',
      config: { action: 'createKey' },
      schema: { body, summary: 'Makes a key of the territory; its text is shown this once', tags },
      handler: async (request, reply) => {
        const made = await keyDesk.make(principal(request), wishOf(request.body));
        return reply.status(201).send(madeView(made, request.body));
      },
    });
    typed(app).route({
      method: 'GET',
      url: '/api/keys/own',
      config: { action: 'listOwnKeys' },
      schema: { summary: 'Keys of the person who asks, without their secrets', tags },
      handler: async (request) => (await keyDesk.listOwn(principal(request))).map(keyView),
    });
    typed(app).route({
      method: 'POST',
      url: '/api/keys/own',
      config: { action: 'createOwnKey' },
      schema: { body, summary: 'Makes a key of the person who asks; its text is shown this once', tags },
      handler: async (request, reply) => {
        const made = await keyDesk.makeOwn(principal(request), wishOf(request.body));
        return reply.status(201).send(madeView(made, request.body));
      },
    });
    typed(app).route({
      method: 'DELETE',
      url: '/api/keys/:id',
      config: { action: 'revokeKey', resource: onId },
      schema: { params: idParams, summary: 'Revokes a key; everybody may do so with her own', tags },
      handler: async (request, reply) => {
        await keyDesk.revoke(principal(request), request.params.id);
        return reply.status(204).send();
      },
    });
  };
