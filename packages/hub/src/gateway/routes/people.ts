/** Members and groups of a territory, under /api. Roles are in `routes/roles.ts`, whoever asks in `routes/self.ts`. */
import { z } from 'zod';
import { actorOf } from '../../identity/principal.ts';
import { PEOPLE_LIMITS } from '../../people/limits.ts';
import type { Group } from '../../people/groups.ts';
import type { Member } from '../../people/members.ts';
import type { HeldRole } from '../../people/self.ts';
import type { ApiDeps } from '../api-deps.ts';
import { principal, typed, type App } from '../server.ts';
import { idParams, iso, isoOrNull } from './views.ts';

/** Longer than what is kept: names are folded before they are measured. */
const name = z.string().max(4 * PEOPLE_LIMITS.nameCharactersMax);
const tags = ['people'];

export type PeopleRoutesDeps = Pick<ApiDeps, 'territory' | 'people' | 'sessions'>;

export const peopleRoutes =
  (deps: PeopleRoutesDeps) =>
  (app: App): void => {
    readMembers(app, deps);
    changeMembers(app, deps);
    readGroups(app, deps);
    changeGroups(app, deps);
  };

const memberView = ({ joinedAtMs, ...member }: Member): object => ({ ...member, joinedAt: iso(joinedAtMs) });
const groupView = ({ createdAtMs, ...group }: Group): object => ({ ...group, createdAt: iso(createdAtMs) });

export const heldRoleView = ({ binding, expiresAtMs, group, ...role }: HeldRole): object => ({
  ...role,
  binding: binding ?? null,
  group: group ?? null,
  expiresAt: isoOrNull(expiresAtMs),
});

function readMembers(app: App, { territory, people }: PeopleRoutesDeps): void {
  typed(app).route({
    method: 'GET',
    url: '/api/members',
    config: { action: 'readPeople' },
    schema: {
      querystring: z.strictObject({ name: name.optional(), after: name.optional() }),
      summary: `Members by name, ${PEOPLE_LIMITS.pageRows} at a time; \`after\` goes on behind a name`,
      tags,
    },
    handler: async (request) =>
      (await people.members.list({ territory: territory.id, ...request.query })).map(memberView),
  });
  typed(app).route({
    method: 'GET',
    url: '/api/members/:id',
    config: { action: 'readPeople' },
    schema: { params: idParams, summary: 'One member, with roles and groups', tags },
    handler: async (request) => {
      const { roles, ...member } = await people.members.show(territory.id, request.params.id);
      return { ...memberView(member), roles: roles.map(heldRoleView) };
    },
  });
}

function changeMembers(app: App, { territory, people, sessions }: PeopleRoutesDeps): void {
  const { members } = people;
  typed(app).route({
    method: 'PATCH',
    url: '/api/members/:id',
    config: { action: 'manageMembers' },
    schema: { params: idParams, body: z.strictObject({ name }), summary: 'Calls a member something else', tags },
    handler: async (request) => {
      const act = { territory: territory.id, id: request.params.id, actor: actorOf(principal(request)) };
      return memberView(await members.rename({ ...act, name: request.body.name }));
    },
  });
  const states = [
    ['suspend', 'Takes everything from a member until she is resumed'],
    ['resume', 'Gives a suspended member back what is bound to her'],
  ] as const;
  for (const [verb, summary] of states) {
    typed(app).route({
      method: 'POST',
      url: `/api/members/:id/${verb}`,
      config: { action: 'manageMembers' },
      schema: { params: idParams, summary, tags },
      handler: async (request) => {
        const act = { territory: territory.id, id: request.params.id, actor: actorOf(principal(request)) };
        return memberView(await members[verb](act));
      },
    });
  }
  typed(app).route({
    method: 'DELETE',
    url: '/api/members/:id',
    config: { action: 'manageMembers' },
    schema: {
      params: idParams,
      summary: 'Removes a member: ends her sessions, revokes her keys, hands her devices back',
      tags,
    },
    handler: async (request) => {
      const act = { territory: territory.id, id: request.params.id, actor: actorOf(principal(request)) };
      const removed = await members.remove(act);
      for (const device of removed.devices) {
        sessions.drop(device, 'device_revoked', 'its lender is no longer a member of the territory');
      }
      return { id: act.id, ...removed };
    },
  });
}

function readGroups(app: App, { territory, people }: PeopleRoutesDeps): void {
  typed(app).route({
    method: 'GET',
    url: '/api/groups',
    config: { action: 'readPeople' },
    schema: { summary: 'All groups', tags },
    handler: async () => (await people.groups.list(territory.id)).map(groupView),
  });
  typed(app).route({
    method: 'GET',
    url: '/api/groups/:id/members',
    config: { action: 'readPeople' },
    schema: { params: idParams, summary: 'Who is in a group', tags },
    handler: (request) => people.groups.membersOf(territory.id, request.params.id),
  });
}

function changeGroups(app: App, { territory, people }: PeopleRoutesDeps): void {
  const { groups } = people;
  const config = { action: 'manageGroups' } as const;
  typed(app).route({
    method: 'POST',
    url: '/api/groups',
    config,
    schema: { body: z.strictObject({ name }), summary: 'Makes a group', tags },
    handler: async (request, reply) => {
      const actor = actorOf(principal(request));
      const made = await groups.create({ territory: territory.id, name: request.body.name, actor });
      return reply.status(201).send(groupView(made));
    },
  });
  typed(app).route({
    method: 'PATCH',
    url: '/api/groups/:id',
    config,
    schema: { params: idParams, body: z.strictObject({ name }), summary: 'Calls a group something else', tags },
    handler: async (request) => {
      const act = { territory: territory.id, id: request.params.id, actor: actorOf(principal(request)) };
      return groupView(await groups.rename({ ...act, name: request.body.name }));
    },
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/groups/:id',
    config,
    schema: { params: idParams, summary: 'Removes a group, and what was bound to it', tags },
    handler: async (request, reply) => {
      await groups.remove({ territory: territory.id, id: request.params.id, actor: actorOf(principal(request)) });
      return reply.status(204).send();
    },
  });
  const inGroup = z.object({ id: z.string().max(64), person: z.string().max(64) });
  const methods = [
    ['PUT', 'add', 'Puts a member into a group'],
    ['DELETE', 'take', 'Takes a member out of a group'],
  ] as const;
  for (const [method, verb, summary] of methods) {
    typed(app).route({
      method,
      url: '/api/groups/:id/members/:person',
      config,
      schema: { params: inGroup, summary, tags },
      handler: async (request, reply) => {
        await groups[verb]({ territory: territory.id, ...request.params, actor: actorOf(principal(request)) });
        return reply.status(204).send();
      },
    });
  }
}
