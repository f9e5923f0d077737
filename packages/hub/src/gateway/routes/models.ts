/** Models of a territory, under /api. */
import { z } from 'zod';
import { actorOf } from '../../identity/principal.ts';
import type { ApiDeps } from '../api-deps.ts';
import { onModelOf } from './resources.ts';
import { principal, typed, type App } from '../server.ts';
import { iso, nameField, nameParams } from './views.ts';

export const modelRoutes =
  (deps: ApiDeps) =>
  (app: App): void => {
    const { territory, models, sessions, policy } = deps;
    const onModel = onModelOf(models, territory.id);
    const devicesWith = (cid: string): number =>
      [...sessions.list()].filter((device) =>
        device.status.models.some((model) => model.cid === cid && model.state === 'warm'),
      ).length;
    const stopOf = async (cid: string): Promise<{ readonly at: string; readonly why: string } | null> => {
      const stop = (await policy.state()).stops.get(cid);
      return stop === undefined ? null : { at: iso(stop.atMs), why: stop.why };
    };
    typed(app).route({
      method: 'GET',
      url: '/api/models',
      config: { action: 'listModels' },
      schema: { summary: 'All models', tags: ['models'] },
      handler: async () => {
        const all = await models.list(territory.id);
        return Promise.all(
          all.map(async (model) => ({
            name: model.name,
            cid: model.cid,
            bytes: model.bytes,
            addedAt: iso(model.addedAtMs),
            kind: model.manifest.kind,
            contextTokens: model.manifest.contextTokens,
            devices: devicesWith(model.cid),
            pinned: model.pinned,
            stopped: await stopOf(model.cid),
          })),
        );
      },
    });
    typed(app).route({
      method: 'GET',
      url: '/api/models/:name',
      config: { action: 'showModel', resource: onModel },
      schema: { params: nameParams, summary: 'One model', tags: ['models'] },
      handler: async (request) => {
        const model = await models.show(territory.id, request.params.name);
        const { manifest } = model;
        return {
          name: model.name,
          cid: model.cid,
          bytes: model.bytes,
          addedAt: iso(model.addedAtMs),
          contextTokens: manifest.contextTokens,
          devices: devicesWith(model.cid),
          pinned: model.pinned,
          stopped: await stopOf(model.cid),
          kind: manifest.kind,
          ...(manifest.dimensions === undefined ? {} : { dimensions: manifest.dimensions }),
          ...(manifest.labels === undefined ? {} : { labels: manifest.labels }),
          layers: manifest.layers,
          vocabularyTokens: manifest.vocabularyTokens,
          tensors: manifest.tensors.length,
          card: manifest.card,
          files: manifest.files.map((file) => ({ path: file.path, bytes: file.bytes, cid: file.file.toString() })),
        };
      },
    });
    typed(app).route({
      method: 'POST',
      url: '/api/models',
      config: { action: 'addModel' },
      schema: {
        body: z.strictObject({
          name: nameField(64).min(1),
          manifest: z.string().max(128),
          replace: z.boolean().optional(),
        }),
        summary: 'Registers a model whose bytes are here',
        tags: ['models'],
      },
      handler: async (request, reply) => {
        const { name, manifest, replace } = request.body;
        const added = await models.add({
          territory: territory.id,
          name,
          manifest,
          actor: actorOf(principal(request)),
          from: deps.held,
          ...(replace === undefined ? {} : { replace }),
        });
        await deps.onModelsChanged();
        await deps.held.settle();
        return reply.status(201).send({ name: added.name, cid: added.cid, bytes: added.bytes });
      },
    });
    typed(app).route({
      method: 'DELETE',
      url: '/api/models/:name',
      config: { action: 'removeModel', resource: onModel },
      schema: { params: nameParams, summary: 'Removes a model', tags: ['models'] },
      handler: async (request, reply) => {
        await models.remove({ territory: territory.id, name: request.params.name, actor: actorOf(principal(request)) });
        await deps.onModelsChanged();
        return reply.status(204).send();
      },
    });
    for (const [method, pinned, summary] of [
      ['PUT', true, 'Pins a model: devices that hold it keep it'],
      ['DELETE', false, 'Unpins a model'],
    ] as const) {
      typed(app).route({
        method,
        url: '/api/models/:name/pin',
        config: { action: 'pinModel', resource: onModel },
        schema: { params: nameParams, summary, tags: ['models'] },
        handler: async (request, reply) => {
          const { name } = request.params;
          await models.pin({ territory: territory.id, name, pinned, actor: actorOf(principal(request)) });
          await deps.onModelsChanged();
          return reply.status(204).send();
        },
      });
    }
  };
