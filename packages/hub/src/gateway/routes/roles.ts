/** Roles of a territory and who has them, under /api. */
import { z } from 'zod';
import { SCOPE_KINDS, SUBJECT_KINDS } from '../../db/schema/people.ts';
import { actorOf } from '../../identity/principal.ts';
import type { Binding } from '../../people/bindings.ts';
import { PEOPLE_LIMITS } from '../../people/limits.ts';
import { GRANTABLE } from '../../people/roles.ts';
import { subjectNames } from '../../people/subject-names.ts';
import type { ApiDeps } from '../api-deps.ts';
import { principal, typed, type App } from '../server.ts';
import { idParams, iso, isoOrNull, nameParams } from './views.ts';

const DAY_SECONDS = 86_400;
const name = z.string().max(4 * PEOPLE_LIMITS.nameCharactersMax);
const permissions = z.array(z.string().max(64)).max(GRANTABLE.length);
const tags = ['people'];

export type RoleRoutesDeps = Pick<ApiDeps, 'territory' | 'people' | 'db' | 'nowMs'>;

export const roleRoutes =
  (deps: RoleRoutesDeps) =>
  (app: App): void => {
    readRoles(app, deps);
    changeRoles(app, deps);
    bindingRoutes(app, deps);
  };

function readRoles(app: App, { territory, people }: RoleRoutesDeps): void {
  typed(app).route({
    method: 'GET',
    url: '/api/roles',
    config: { action: 'readPeople' },
    schema: { summary: 'All roles, the built-in ones first', tags },
    handler: () => people.roles.list(territory.id),
  });
  typed(app).route({
    method: 'GET',
    url: '/api/roles/:name',
    config: { action: 'readPeople' },
    schema: { params: nameParams, summary: 'One role', tags },
    handler: (request) => people.roles.get(territory.id, request.params.name),
  });
}

function changeRoles(app: App, { territory, people }: RoleRoutesDeps): void {
  const config = { action: 'manageRoles' } as const;
  typed(app).route({
    method: 'POST',
    url: '/api/roles',
    config,
    schema: { body: z.strictObject({ name, permissions }), summary: 'Makes a role', tags },
    handler: async (request, reply) => {
      const actor = actorOf(principal(request));
      return reply.status(201).send(await people.roles.create({ territory: territory.id, ...request.body, actor }));
    },
  });
  typed(app).route({
    method: 'PUT',
    url: '/api/roles/:name',
    config,
    schema: {
      params: nameParams,
      body: z.strictObject({ permissions }),
      summary: 'Says what a role permits from now on, to whoever has it',
      tags,
    },
    handler: (request) => {
      const actor = actorOf(principal(request));
      return people.roles.change({ territory: territory.id, ...request.params, ...request.body, actor });
    },
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/roles/:name',
    config,
    schema: {
      params: nameParams,
      querystring: z.strictObject({ force: z.enum(['true', 'false']).default('false') }),
      summary: 'Removes a role; with force also from whoever has it, and revokes keys that were made with it',
      tags,
    },
    handler: async (request, reply) => {
      const actor = actorOf(principal(request));
      const force = request.query.force === 'true';
      await people.roles.remove({ territory: territory.id, name: request.params.name, force, actor });
      return reply.status(204).send();
    },
  });
}

function bindingRoutes(app: App, { territory, people, db, nowMs }: RoleRoutesDeps): void {
  const { bindings } = people;
  const views = async (all: readonly Binding[]): Promise<object[]> => {
    const names = await subjectNames(
      db,
      territory.id,
      all.flatMap(({ subject, createdBy }) => [subject.id, createdBy]),
    );
    return all.map(({ subject, createdAtMs, expiresAtMs, createdBy, ...binding }) => ({
      ...binding,
      subject: { ...subject, name: names.get(subject.id) ?? null },
      expiresAt: isoOrNull(expiresAtMs),
      createdAt: iso(createdAtMs),
      createdBy: { id: createdBy, name: names.get(createdBy) ?? null },
    }));
  };
  typed(app).route({
    method: 'GET',
    url: '/api/bindings',
    config: { action: 'readPeople' },
    schema: {
      querystring: z.strictObject({
        subject: z.string().max(64).optional(),
        role: z.string().max(64).optional(),
        after: z.string().max(64).optional(),
      }),
      summary: `Who has which role on what, ${PEOPLE_LIMITS.pageRows} at a time; \`after\` goes on behind an id`,
      tags,
    },
    handler: async (request) => views(await bindings.list({ territory: territory.id, ...request.query })),
  });
  typed(app).route({
    method: 'POST',
    url: '/api/bindings',
    config: { action: 'bindRole' },
    schema: {
      body: z.strictObject({
        subject: z.strictObject({ kind: z.enum(SUBJECT_KINDS), id: z.string().max(64) }),
        role: z.string().max(64),
        scope: z
          .strictObject({ kind: z.enum(SCOPE_KINDS), id: z.string().max(128).default('') })
          .default({ kind: 'territory', id: '' }),
        expiresInSeconds: z
          .int()
          .min(1)
          .max(3_650 * DAY_SECONDS)
          .optional(),
      }),
      summary: 'Gives a person, group or key a role, on something, until then',
      tags,
    },
    handler: async (request, reply) => {
      const { expiresInSeconds, ...order } = request.body;
      const expiresAtMs = expiresInSeconds === undefined ? undefined : nowMs() + expiresInSeconds * 1_000;
      const actor = actorOf(principal(request));
      const made = await bindings.create({ territory: territory.id, ...order, expiresAtMs, actor });
      const [view] = await views([made]);
      return reply.status(201).send(view);
    },
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/bindings/:id',
    config: { action: 'bindRole' },
    schema: { params: idParams, summary: 'Takes a role away', tags },
    handler: async (request, reply) => {
      await bindings.remove({ territory: territory.id, id: request.params.id, actor: actorOf(principal(request)) });
      return reply.status(204).send();
    },
  });
}
