/** How far devices are trusted, and who vouches for them, under /api. */
import { IdlewildError, DEVICE_TIERS, VOUCH_CHAIN, wellKnownKey } from '@idlewild/protocol';
import { z } from 'zod';
import { actorOf } from '../../identity/principal.ts';
import type { Policy } from '../../policy/port.ts';
import { PEOPLE_LIMITS } from '../../people/limits.ts';
import { groupName } from '../../people/names.ts';
import type { DeviceTrust } from '../../trust/device-trust.ts';
import type { StewardKey, Vouches } from '../../trust/vouches.ts';
import { onId } from './resources.ts';
import { principal, typed, type App, type FastifyRequest } from '../server.ts';
import { bytesOf, idParams, iso, isoOrNull, nameField, statementField } from './views.ts';

export interface TrustRoutesDeps {
  readonly territory: { readonly id: string };
  readonly policy: Pick<Policy, 'check'>;
  readonly deviceTrust: DeviceTrust;
  readonly vouches: Vouches;
  /** Every replica looks again at once. */
  announcePeople(): void;
}

export const trustRoutes =
  (deps: TrustRoutesDeps) =>
  (app: App): void => {
    tierRoutes(app, deps);
    vouchRoutes(app, deps);
    stewardRoutes(app, deps);
  };

const name = nameField(PEOPLE_LIMITS.nameCharactersMax).min(1);
const poolParams = idParams.extend({ pool: name });
const publicKey = z.string().regex(/^[A-Za-z0-9_-]{43}$/, 'must be the 32 bytes of an Ed25519 key in base64url');

/** A role on one pool is no leave to put its devices into another, or to take them out of it. */
const checkPool = async (
  { policy, territory }: TrustRoutesDeps,
  request: FastifyRequest,
  { id, pool }: { readonly id: string; readonly pool: string },
): Promise<void> => policy.check(principal(request), 'poolDevice', { territory: territory.id, id, pools: [pool] });

function tierRoutes(app: App, deps: TrustRoutesDeps): void {
  const { territory, deviceTrust, announcePeople } = deps;
  typed(app).route({
    method: 'PATCH',
    url: '/api/devices/:id',
    config: { action: 'tierDevice', resource: onId },
    schema: {
      params: idParams,
      body: z.strictObject({
        tier: z.enum(DEVICE_TIERS).optional(),
        person: z.string().max(64).nullable().optional().describe('Id of the member who lends it; null is nobody.'),
      }),
      summary: 'Says how far a device is trusted, and whose it is',
      tags: ['devices'],
    },
    handler: async (request, reply) => {
      const { tier, person } = request.body;
      if (tier === undefined && person === undefined)
        throw new IdlewildError('invalid_request', 'say "tier", "person" or both; there is nothing else to change');
      await deviceTrust.set({
        territory: territory.id,
        id: request.params.id,
        actor: actorOf(principal(request)),
        ...(tier === undefined ? {} : { tier }),
        ...(person === undefined ? {} : { person }),
      });
      announcePeople();
      return reply.status(204).send();
    },
  });
  typed(app).route({
    method: 'PUT',
    url: '/api/devices/:id/pools/:pool',
    config: { action: 'poolDevice', resource: onId },
    schema: { params: poolParams, summary: 'Puts a device into a pool', tags: ['devices'] },
    handler: async (request, reply) => {
      const { id } = request.params;
      // As it is kept: whatever forbids something in a pool forbids it there, however its name is written.
      const pool = groupName(request.params.pool);
      await checkPool(deps, request, { id, pool });
      await deviceTrust.addToPool({ territory: territory.id, id, pool, actor: actorOf(principal(request)) });
      announcePeople();
      return reply.status(204).send();
    },
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/devices/:id/pools/:pool',
    config: { action: 'poolDevice', resource: onId },
    schema: { params: poolParams, summary: 'Takes a device out of a pool', tags: ['devices'] },
    handler: async (request, reply) => {
      const { id, pool } = request.params;
      await checkPool(deps, request, request.params);
      await deviceTrust.removeFromPool({ territory: territory.id, id, pool, actor: actorOf(principal(request)) });
      announcePeople();
      return reply.status(204).send();
    },
  });
}

function vouchRoutes(app: App, { territory, vouches }: TrustRoutesDeps): void {
  typed(app).route({
    method: 'PUT',
    url: '/api/devices/:id/vouch',
    config: { action: 'vouchDevice', resource: onId },
    schema: {
      params: idParams,
      body: z.strictObject({ chain: z.array(statementField).min(1).max(VOUCH_CHAIN.statementsMax) }),
      summary: "Keeps a steward's signed word for a device",
      tags: ['devices'],
    },
    handler: async (request) => {
      const { steward, expiresAtMs } = await vouches.put({
        territory: territory.id,
        device: request.params.id,
        actor: actorOf(principal(request)),
        chain: request.body.chain.map(bytesOf),
      });
      return { steward, expiresAt: iso(expiresAtMs) };
    },
  });
}

const stewardView = ({ id, name: called, publicKey: key, addedAtMs, addedBy, removedAtMs }: StewardKey): object => ({
  id,
  name: called,
  key: wellKnownKey(key),
  addedAt: iso(addedAtMs),
  addedBy,
  removedAt: isoOrNull(removedAtMs),
});

function stewardRoutes(app: App, { territory, vouches }: TrustRoutesDeps): void {
  typed(app).route({
    method: 'GET',
    url: '/api/stewards',
    config: { action: 'listStewards' },
    schema: { summary: "Stewards' public keys, by which they vouch for devices", tags: ['devices'] },
    handler: async () => (await vouches.stewards(territory.id)).map(stewardView),
  });
  typed(app).route({
    method: 'POST',
    url: '/api/stewards',
    config: { action: 'addSteward' },
    schema: {
      body: z.strictObject({ name, key: publicKey }),
      summary: "Adds a steward's public key",
      tags: ['devices'],
    },
    handler: async (request, reply) => {
      const actor = actorOf(principal(request));
      const { name: called, key } = request.body;
      const added = await vouches.addSteward({ territory: territory.id, actor, name: called, publicKey: bytesOf(key) });
      return reply.status(201).send(stewardView(added));
    },
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/stewards/:id',
    config: { action: 'addSteward' },
    schema: { params: idParams, summary: 'Shows no more what this key signed', tags: ['devices'] },
    handler: async (request, reply) => {
      const actor = actorOf(principal(request));
      await vouches.removeSteward({ territory: territory.id, actor, id: request.params.id });
      return reply.status(204).send();
    },
  });
}
