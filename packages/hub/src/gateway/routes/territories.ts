/**
 * Communities of this hub, for whoever runs it. These routes are there in the first territory alone: to every other
 * community of the hub they do not exist.
 */
import { LIMITS, wellKnownKey } from '@idlewild/protocol';
import { z } from 'zod';
import type { HostedFacts, Hosting } from '../../house/hosting.ts';
import { actorOf } from '../../identity/principal.ts';
import { principal, typed, type App } from '../server.ts';

export interface TerritoryRoutesDeps {
  readonly hosting: () => Hosting;
  /** Where callers and devices of a territory reach it. */
  readonly addressOf: (territory: string) => string;
}

const params = z.object({ id: z.string().max(64) });
const action = 'hostTerritory';

export const territoryRoutes =
  ({ hosting, addressOf }: TerritoryRoutesDeps) =>
  (app: App): void => {
    const view = (facts: HostedFacts): object => ({
      id: facts.id,
      name: facts.name,
      key: wellKnownKey(facts.publicKey),
      address: addressOf(facts.id),
      createdAt: new Date(facts.createdAtMs).toISOString(),
      closedAt: facts.closedAtMs === undefined ? null : new Date(facts.closedAtMs).toISOString(),
      first: facts.isFirst,
      served: facts.isServed,
    });
    typed(app).route({
      method: 'GET',
      url: '/api/territories',
      config: { action },
      schema: { summary: 'All communities of this hub', tags: ['territories'] },
      handler: async () => (await hosting().list()).map(view),
    });
    typed(app).route({
      method: 'GET',
      url: '/api/territories/:id',
      config: { action },
      schema: { params, summary: 'One community of this hub', tags: ['territories'] },
      handler: async (request) => view(await hosting().show(request.params.id)),
    });
    typed(app).route({
      method: 'POST',
      url: '/api/territories',
      config: { action },
      schema: {
        body: z.strictObject({ name: z.string().max(LIMITS.nameCharactersMax) }),
        summary: "Makes a community; its first steward's key is shown this once",
        tags: ['territories'],
      },
      handler: async (request, reply) => {
        const made = await hosting().create({ name: request.body.name, actor: actorOf(principal(request)) });
        return reply.status(201).send({ ...view(made), stewardKey: made.stewardKey ?? null });
      },
    });
    typed(app).route({
      method: 'POST',
      url: '/api/territories/:id/close',
      config: { action },
      schema: { params, summary: 'Serves a community no longer; what it has stays', tags: ['territories'] },
      handler: async (request) =>
        view(await hosting().close({ ...request.params, actor: actorOf(principal(request)) })),
    });
    typed(app).route({
      method: 'POST',
      url: '/api/territories/:id/open',
      config: { action },
      schema: {
        params,
        summary: 'Serves a community again, with a steward key where none works',
        tags: ['territories'],
      },
      handler: async (request) => {
        const opened = await hosting().open({ ...request.params, actor: actorOf(principal(request)) });
        return { ...view(opened), stewardKey: opened.stewardKey ?? null };
      },
    });
  };
