/** Devices and invites of a territory, under /api. */
import { DEVICE_TIERS, IdlewildError, wellKnownKey, type Invite, type MaybePromise } from '@idlewild/protocol';
import { z } from 'zod';
import type { Device } from '../../identity/devices.ts';
import { actorOf, type Principal } from '../../identity/principal.ts';
import { stateOf, type ConnectedDevice } from '../../session/connected-device.ts';
import type { ApiDeps } from '../api-deps.ts';
import { groupName } from '../../people/names.ts';
import { onId } from './resources.ts';
import { principal, typed, type App } from '../server.ts';
import { bytesOf, idParams, iso, isoOrNull, statementField } from './views.ts';

const DAY_SECONDS = 86_400;

/** What stewards said, of each device of whom they said something. */
interface Said {
  readonly pools: ReadonlyMap<string, readonly string[]>;
  readonly vouches: ReadonlyMap<string, { readonly expiresAtMs: number }>;
}

function deviceView(
  device: Device,
  connected: ConnectedDevice | undefined,
  names: ReadonlyMap<string, string>,
  { pools, vouches }: Said,
): object {
  const warm = (connected?.status.models ?? []).filter((model) => model.state === 'warm');
  // Encoders and classifiers write no tokens, and are measured at none.
  const fastest = Math.max(0, ...warm.map((model) => model.tokensPerSecond ?? 0));
  return {
    id: device.id,
    name: device.name,
    state: connected === undefined ? 'offline' : stateOf(connected),
    models: warm.map((model) => names.get(model.cid) ?? model.cid),
    tokensPerSecond: fastest > 0 ? fastest : null,
    pauseReasons: connected?.status.pauseReasons ?? [],
    active: connected?.leases.size ?? 0,
    slots: connected?.status.slots ?? 0,
    key: wellKnownKey(device.publicKey),
    tier: device.tier,
    person: device.person ?? null,
    pools: pools.get(device.id) ?? [],
    vouchedUntil: isoOrNull(vouches.get(device.id)?.expiresAtMs),
    lastSeenAt: iso(device.lastSeenAtMs),
    enrolledAt: iso(device.enrolledAtMs),
  };
}

/** What its lender signed of texts. */
const lendsView = ({ lends }: ConnectedDevice): object => ({
  kinds: lends.kinds,
  classes: lends.classes,
  causes: lends.causes,
  refused: lends.refused,
});

export const deviceRoutes =
  (deps: ApiDeps) =>
  (app: App): void => {
    deviceRoutesOf(app, deps);
    inviteRoutes(app, deps);
  };

/** Whether devices that are in these pools are listed: asked once of all that are in the same ones. */
function listerOf(
  { policy, territory }: ApiDeps,
  asker: Principal,
): (pools: readonly string[]) => MaybePromise<boolean> {
  const known = new Map<string, MaybePromise<boolean>>();
  return (pools) => {
    const key = pools.join(' ');
    const may = known.get(key) ?? policy.allows(asker, 'listDevices', { territory: territory.id, id: 'any', pools });
    known.set(key, may);
    return may;
  };
}

function deviceRoutesOf(app: App, deps: ApiDeps): void {
  const { territory, devices, sessions, models } = deps;
  const modelNames = async (): Promise<Map<string, string>> =>
    new Map((await models.list(territory.id)).map((model) => [model.cid, model.name]));
  const saidOf = async (some: readonly Device[]): Promise<Said> => ({
    pools: await deps.deviceTrust.pools(territory.id),
    vouches: await deps.vouches.of(
      territory.id,
      some.map(({ id }) => id),
    ),
  });
  const existing = async (id: string): Promise<Device> => {
    const device = await devices.get(territory.id, id);
    if (device === undefined || device.revokedAtMs !== undefined)
      throw new IdlewildError('not_found', `there is no device ${id} in this territory`);
    return device;
  };
  typed(app).route({
    method: 'GET',
    url: '/api/devices',
    config: { action: 'listDevices', resource: 'later' },
    schema: { summary: 'All devices; who may list those of some pools, of these', tags: ['devices'] },
    handler: async (request) => {
      const names = await modelNames();
      const all = (await devices.list(territory.id)).filter((device) => device.revokedAtMs === undefined);
      const said = await saidOf(all);
      const mayList = listerOf(deps, principal(request));
      const listed: object[] = [];
      for (const device of all)
        if (await mayList(said.pools.get(device.id) ?? []))
          listed.push(deviceView(device, sessions.get(device.id), names, said));
      return listed;
    },
  });
  typed(app).route({
    method: 'GET',
    url: '/api/devices/:id',
    config: { action: 'showDevice', resource: onId },
    schema: { params: idParams, summary: 'One device', tags: ['devices'] },
    handler: async (request) => {
      const device = await existing(request.params.id);
      const connected = sessions.get(device.id);
      const names = await modelNames();
      const modelStates = (connected?.status.models ?? []).map((model) => ({
        name: names.get(model.cid) ?? null,
        ...model,
      }));
      return {
        ...deviceView(device, connected, names, await saidOf([device])),
        lends: connected === undefined ? null : lendsView(connected),
        profile: device.profile,
        lent: connected?.status.lent ?? null,
        modelStates,
      };
    },
  });
  typed(app).route({
    method: 'POST',
    url: '/api/devices/:id/drain',
    config: { action: 'drainDevice', resource: onId },
    schema: { params: idParams, summary: 'Lets a device finish and gives it nothing new', tags: ['devices'] },
    handler: async (request, reply) => {
      const device = await existing(request.params.id);
      const actor = actorOf(principal(request));
      await deps.db
        .transaction()
        .execute((tx) =>
          deps.audit.append(tx, { territory: territory.id, actor, action: 'drainDevice', subject: device.id }),
        );
      if (!sessions.drain(device.id, 'a steward asked for it'))
        throw new IdlewildError('conflict', `device ${device.name} is offline; there is nothing to drain`);
      return reply.status(204).send();
    },
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/devices/:id',
    config: { action: 'revokeDevice', resource: onId },
    schema: { params: idParams, summary: 'Revokes a device for good', tags: ['devices'] },
    handler: async (request, reply) => {
      const device = await existing(request.params.id);
      await devices.revoke({ territory: territory.id, id: device.id, actor: actorOf(principal(request)) });
      sessions.drop(device.id, 'device_revoked', 'a steward of the territory revoked this device');
      return reply.status(204).send();
    },
  });
}

/** One whose secret was made elsewhere: the hub has the hash of its token, and a steward's word for its key. */
const vouchedInvite = z.strictObject({
  tokenHash: z.string().regex(/^[0-9a-f]{64}$/, 'must be SHA-256 in hex'),
  vouch: statementField,
});

/** What its maker needs to write the token. */
const placeView = ({ url, territory, pin, session }: Omit<Invite, 'secret'>): object => ({
  url,
  territory: wellKnownKey(territory),
  pin: pin === undefined ? null : wellKnownKey(pin),
  session: session === true,
});

function inviteRoutes(app: App, deps: ApiDeps): void {
  const { territory, invites } = deps;
  typed(app).route({
    method: 'POST',
    url: '/api/invites',
    config: { action: 'createInvite' },
    schema: {
      body: z.strictObject({
        uses: z.int().min(1).max(10_000).default(1),
        expiresInSeconds: z
          .int()
          .min(1)
          .max(365 * DAY_SECONDS)
          .default(DAY_SECONDS),
        tier: z.enum(DEVICE_TIERS).default('member'),
        /** Id of the member whose devices they are. */
        for: z.string().max(64).optional(),
        /** Into which pool they are put. */
        pool: z.string().min(1).max(64).optional(),
        vouched: vouchedInvite.optional(),
      }),
      summary: 'Makes a token with which devices join',
      tags: ['devices'],
    },
    handler: async (request, reply) => {
      const { uses, expiresInSeconds, tier, for: person, pool: named, vouched } = request.body;
      // As it is kept: whatever forbids something in a pool forbids it there, however its name is written.
      const pool = named === undefined ? undefined : groupName(named);
      if (pool !== undefined)
        await deps.policy.check(principal(request), 'poolDevice', {
          territory: territory.id,
          id: 'any',
          pools: [pool],
        });
      if (person !== undefined) await deps.people.members.show(territory.id, person);
      const invite = await invites.create({
        territory: territory.id,
        uses,
        tier,
        expiresInMs: expiresInSeconds * 1000,
        person,
        pool,
        createdBy: actorOf(principal(request)),
        ...(vouched === undefined ? {} : { vouched: { ...vouched, vouch: bytesOf(vouched.vouch) } }),
      });
      if (vouched !== undefined)
        return reply.status(201).send({ ...placeView(deps.invitePlace()), expiresAt: iso(invite.expiresAtMs) });
      return reply.status(201).send({ ...deps.inviteToken(invite.secret), expiresAt: iso(invite.expiresAtMs) });
    },
  });
}
