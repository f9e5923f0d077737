/** Whoever asks: who it is, and its own keys and devices, under /api. */
import { IdlewildError } from '@idlewild/protocol';
import { z } from 'zod';
import { actorOf, personOf } from '../../identity/principal.ts';
import { PEOPLE_LIMITS } from '../../people/limits.ts';
import type { OwnDevice } from '../../people/own-devices.ts';
import { ACTIONS, type Action } from '../../policy/actions.ts';
import { stateOf } from '../../session/connected-device.ts';
import type { ApiDeps } from '../api-deps.ts';
import { heldRoleView } from './people.ts';
import { principal, typed, type App } from '../server.ts';
import { idParams, iso } from './views.ts';

export type SelfRoutesDeps = Pick<
  ApiDeps,
  'territory' | 'people' | 'policy' | 'invites' | 'inviteToken' | 'sessionsIn' | 'nowMs'
>;

export const selfRoutes =
  (deps: SelfRoutesDeps) =>
  (app: App): void => {
    meRoute(app, deps);
    leaveRoute(app, deps);
    ownDeviceRoutes(app, deps);
    ownInviteRoute(app, deps);
  };

function meRoute(app: App, { territory, people, policy }: SelfRoutesDeps): void {
  typed(app).route({
    method: 'GET',
    url: '/api/me',
    config: { action: 'readSelf' },
    schema: { summary: 'Who asks, and what it may do', tags: ['people'] },
    handler: async (request) => {
      const asker = principal(request);
      const { person, state, roles, ...self } = await people.selfOf(asker);
      const may: Action[] = [];
      for (const action of Object.keys(ACTIONS) as Action[]) {
        if (await policy.allows(asker, action, { territory: territory.id })) may.push(action);
      }
      return {
        ...self,
        person: person ?? null,
        state: state ?? null,
        territory,
        roles: roles.map(heldRoleView),
        may: may.sort(),
      };
    },
  });
}

function leaveRoute(app: App, { territory, people, sessionsIn }: SelfRoutesDeps): void {
  typed(app).route({
    method: 'POST',
    url: '/api/me/leave',
    config: { action: 'manageOwnSignIn' },
    schema: {
      body: z.strictObject({ name: z.string().max(4 * PEOPLE_LIMITS.nameCharactersMax) }),
      summary: 'Leaves the community for good; `name` is what one is called in it, so that nobody does by mistake',
      tags: ['people'],
    },
    handler: async (request) => {
      const asker = principal(request);
      if (asker.kind !== 'person')
        throw new IdlewildError('forbidden', 'a key leaves nothing; sign in as who is to leave');
      const { name } = await people.selfOf(asker);
      if (name !== request.body.name.normalize('NFKC'))
        throw new IdlewildError('invalid_request', `you are called otherwise in ${territory.name}; nothing was done`, {
          details: { param: 'name' },
        });
      const left = await people.members.remove({ territory: territory.id, id: asker.personId, actor: asker.personId });
      for (const device of left.devices)
        sessionsIn(territory.id)?.drop(device, 'device_revoked', 'its lender left the territory');
      return { id: asker.personId, ...left };
    },
  });
}

function ownDeviceRoutes(app: App, { people, sessionsIn }: SelfRoutesDeps): void {
  const { ownDevices } = people;
  const querystring = z.strictObject({ territory: z.string().max(64).optional() });
  const view = ({ lastSeenAtMs, enrolledAtMs, ...device }: OwnDevice): object => {
    const connected = sessionsIn(device.territory.id)?.get(device.id);
    return {
      ...device,
      state: connected === undefined ? 'offline' : stateOf(connected),
      lastSeenAt: iso(lastSeenAtMs),
      enrolledAt: iso(enrolledAtMs),
    };
  };
  typed(app).route({
    method: 'GET',
    url: '/api/devices/own',
    config: { action: 'listOwnDevices' },
    schema: { summary: 'What the person who asks lends, in all her communities of this hub', tags: ['devices'] },
    handler: async (request) => (await ownDevices.list(principal(request))).map(view),
  });
  typed(app).route({
    method: 'POST',
    url: '/api/devices/own/:id/drain',
    config: { action: 'controlOwnDevices' },
    schema: {
      params: idParams,
      querystring,
      summary: 'Lets a device of hers finish, in whichever community',
      tags: ['devices'],
    },
    handler: async (request, reply) => {
      const act = { asker: principal(request), id: request.params.id, territory: request.query.territory };
      const device = await ownDevices.drain(act);
      if (sessionsIn(device.territory.id)?.drain(device.id, 'its lender asked for it') !== true)
        throw new IdlewildError('conflict', `device ${device.name} is offline; there is nothing to drain`);
      return reply.status(204).send();
    },
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/devices/own/:id',
    config: { action: 'controlOwnDevices' },
    schema: {
      params: idParams,
      querystring,
      summary: 'Takes a device of hers back, from whichever community',
      tags: ['devices'],
    },
    handler: async (request, reply) => {
      const act = { asker: principal(request), id: request.params.id, territory: request.query.territory };
      const device = await ownDevices.takeBack(act);
      sessionsIn(device.territory.id)?.drop(device.id, 'device_revoked', 'its lender took this device back');
      return reply.status(204).send();
    },
  });
}

function ownInviteRoute(app: App, { territory, invites, inviteToken }: SelfRoutesDeps): void {
  typed(app).route({
    method: 'POST',
    url: '/api/invites/own',
    config: { action: 'inviteOwnDevice' },
    schema: {
      body: z.strictObject({
        uses: z.int().min(1).max(PEOPLE_LIMITS.ownInviteUsesMax).default(1),
        expiresInSeconds: z
          .int()
          .min(1)
          .max(PEOPLE_LIMITS.ownInviteMsMax / 1_000)
          .default(86_400),
      }),
      summary: 'Makes a token with which devices of the person who asks join',
      tags: ['devices'],
    },
    handler: async (request, reply) => {
      const asker = principal(request);
      const person = personOf(asker);
      if (person === undefined)
        throw new IdlewildError('forbidden', 'a key of the territory is nobody and lends nothing; sign in');
      const { uses, expiresInSeconds } = request.body;
      const invite = await invites.create({
        territory: territory.id,
        uses,
        expiresInMs: expiresInSeconds * 1_000,
        person,
        createdBy: actorOf(asker),
      });
      return reply.status(201).send({ ...inviteToken(invite.secret), expiresAt: iso(invite.expiresAtMs) });
    },
  });
}
