/** The steward's and the CLI's endpoints under /api: status, devices, keys, invites, models, requests, audit. */
import { IdlewildError, hex, type DeviceState } from '@idlewild/protocol';
import { z } from 'zod';
import type { Answers } from '../answers/answers.ts';
import type { Audit } from '../audit/audit.ts';
import { ROLES, type Database } from '../db/schema.ts';
import type { Devices, Device } from '../identity/devices.ts';
import type { Invites } from '../identity/invites.ts';
import type { Keys } from '../identity/keys.ts';
import { actorOf } from '../identity/principal.ts';
import type { Models } from '../models/registry.ts';
import type { ReplicaStanding } from '../replicas/register.ts';
import { stateOf, type ConnectedDevice } from '../session/connected-device.ts';
import type { Sessions } from '../session/port.ts';
import { keyLimitsSchema, limitsView } from './routes-callers.ts';
import { principal, typed, type App } from './server.ts';

export interface ApiDeps {
  readonly territory: { readonly id: string; readonly name: string };
  readonly hub: string;
  readonly version: string;
  readonly replica: { readonly id: string };
  readonly replicas: () => Promise<readonly ReplicaStanding[]>;
  readonly startedAtMs: number;
  readonly nowMs: () => number;
  readonly db: Database;
  readonly keys: Keys;
  readonly devices: Devices;
  readonly invites: Invites;
  readonly models: Models;
  readonly sessions: Sessions;
  readonly answers: Answers;
  readonly audit: Audit;
  /** Models were added or removed: devices are told. */
  readonly onModelsChanged: () => Promise<void>;
  /** The token of an invite, with the address that devices are to dial. */
  readonly inviteToken: (secret: Uint8Array) => { readonly url: string; readonly token: string };
}

const DAY_SECONDS = 86_400;
const idParams = z.object({ id: z.string().max(64) });
const nameParams = z.object({ name: z.string().max(64) });
const iso = (ms: number): string => new Date(ms).toISOString();
const isoOrNull = (ms: number | null | undefined): string | null => (ms === null || ms === undefined ? null : iso(ms));

export const apiRoutes =
  (deps: ApiDeps) =>
  (app: App): void => {
    statusRoutes(app, deps);
    deviceRoutes(app, deps);
    keyRoutes(app, deps);
    modelRoutes(app, deps);
    recordRoutes(app, deps);
  };

export function countStates(sessions: Pick<Sessions, 'list'>, enrolled: number): Record<DeviceState, number> {
  const counts: Record<DeviceState, number> = { ready: 0, busy: 0, paused: 0, draining: 0, offline: 0 };
  let connected = 0;
  for (const device of sessions.list()) {
    counts[stateOf(device)]++;
    connected++;
  }
  counts.offline = Math.max(0, enrolled - connected);
  return counts;
}

function statusRoutes(app: App, deps: ApiDeps): void {
  typed(app).route({
    method: 'GET',
    url: '/api/status',
    config: { action: 'readStatus' },
    schema: { summary: 'The hub at a glance', tags: ['hub'] },
    handler: async () => {
      const enrolled = (await deps.devices.list(deps.territory.id)).filter(
        (device) => device.revokedAtMs === undefined,
      ).length;
      return {
        version: deps.version,
        hub: deps.hub,
        territory: deps.territory,
        uptimeSeconds: Math.floor((deps.nowMs() - deps.startedAtMs) / 1000),
        devices: countStates(deps.sessions, enrolled),
        models: (await deps.models.list(deps.territory.id)).length,
        answers: deps.answers.counts(),
        replica: deps.replica.id,
        replicas: (await deps.replicas()).map(replicaView),
      };
    },
  });
}

const replicaView = (replica: ReplicaStanding): object => ({
  id: replica.id,
  address: replica.address,
  version: replica.version,
  state: replica.isLive ? replica.state : 'silent',
  devices: replica.devices,
  answers: replica.answers,
  startedAt: iso(replica.startedAtMs),
  seenSecondsAgo: Math.round(replica.seenMsAgo / 100) / 10,
});

function deviceView(
  device: Device,
  connected: ConnectedDevice | undefined,
  names: ReadonlyMap<string, string>,
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
    lastSeenAt: iso(device.lastSeenAtMs),
    enrolledAt: iso(device.enrolledAtMs),
  };
}

function deviceRoutes(app: App, deps: ApiDeps): void {
  const { territory, devices, sessions, models } = deps;
  const modelNames = async (): Promise<Map<string, string>> =>
    new Map((await models.list(territory.id)).map((model) => [model.cid, model.name]));
  const existing = async (id: string): Promise<Device> => {
    const device = await devices.get(territory.id, id);
    if (device === undefined || device.revokedAtMs !== undefined)
      throw new IdlewildError('not_found', `there is no device ${id} in this territory`);
    return device;
  };
  typed(app).route({
    method: 'GET',
    url: '/api/devices',
    config: { action: 'listDevices' },
    schema: { summary: 'All devices', tags: ['devices'] },
    handler: async () => {
      const names = await modelNames();
      const all = await devices.list(territory.id);
      return all
        .filter((device) => device.revokedAtMs === undefined)
        .map((device) => deviceView(device, sessions.get(device.id), names));
    },
  });
  typed(app).route({
    method: 'GET',
    url: '/api/devices/:id',
    config: { action: 'showDevice' },
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
        ...deviceView(device, connected, names),
        profile: device.profile,
        lent: connected?.status.lent ?? null,
        modelStates,
      };
    },
  });
  typed(app).route({
    method: 'POST',
    url: '/api/devices/:id/drain',
    config: { action: 'drainDevice' },
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
    config: { action: 'revokeDevice' },
    schema: { params: idParams, summary: 'Revokes a device for good', tags: ['devices'] },
    handler: async (request, reply) => {
      const device = await existing(request.params.id);
      await devices.revoke({ territory: territory.id, id: device.id, actor: actorOf(principal(request)) });
      sessions.drop(device.id, 'device_revoked', 'a steward of the territory revoked this device');
      return reply.status(204).send();
    },
  });
}

function keyRoutes(app: App, deps: ApiDeps): void {
  const { territory, keys, invites } = deps;
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
        role: z.enum(ROLES),
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
    config: { action: 'revokeKey' },
    schema: { params: idParams, summary: 'Revokes a key', tags: ['keys'] },
    handler: async (request, reply) => {
      await keys.revoke({ territory: territory.id, id: request.params.id, actor: actorOf(principal(request)) });
      return reply.status(204).send();
    },
  });
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
      }),
      summary: 'Makes a token with which devices join',
      tags: ['devices'],
    },
    handler: async (request, reply) => {
      const { uses, expiresInSeconds } = request.body;
      const invite = await invites.create({
        territory: territory.id,
        uses,
        expiresInMs: expiresInSeconds * 1000,
        createdBy: actorOf(principal(request)),
      });
      return reply.status(201).send({ ...deps.inviteToken(invite.secret), expiresAt: iso(invite.expiresAtMs) });
    },
  });
}

function modelRoutes(app: App, deps: ApiDeps): void {
  const { territory, models, sessions } = deps;
  const devicesWith = (cid: string): number =>
    [...sessions.list()].filter((device) =>
      device.status.models.some((model) => model.cid === cid && model.state === 'warm'),
    ).length;
  typed(app).route({
    method: 'GET',
    url: '/api/models',
    config: { action: 'listModels' },
    schema: { summary: 'All models', tags: ['models'] },
    handler: async () =>
      (await models.list(territory.id)).map((model) => ({
        name: model.name,
        cid: model.cid,
        bytes: model.bytes,
        addedAt: iso(model.addedAtMs),
        kind: model.manifest.kind,
        contextTokens: model.manifest.contextTokens,
        devices: devicesWith(model.cid),
        pinned: model.pinned,
      })),
  });
  typed(app).route({
    method: 'GET',
    url: '/api/models/:name',
    config: { action: 'showModel' },
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
        name: z.string().min(1).max(64),
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
        ...(replace === undefined ? {} : { replace }),
      });
      await deps.onModelsChanged();
      return reply.status(201).send({ name: added.name, cid: added.cid, bytes: added.bytes });
    },
  });
  typed(app).route({
    method: 'DELETE',
    url: '/api/models/:name',
    config: { action: 'removeModel' },
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
      config: { action: 'pinModel' },
      schema: { params: nameParams, summary, tags: ['models'] },
      handler: async (request, reply) => {
        const { name } = request.params;
        await models.pin({ territory: territory.id, name, pinned, actor: actorOf(principal(request)) });
        await deps.onModelsChanged();
        return reply.status(204).send();
      },
    });
  }
}

const LISTED_MAX = 200;

function recordRoutes(app: App, deps: ApiDeps): void {
  const { territory, db, audit } = deps;
  typed(app).route({
    method: 'GET',
    url: '/api/requests',
    config: { action: 'readOwnRequests' },
    schema: { summary: "What became of this key's latest requests; never their text", tags: ['answers'] },
    handler: async (request) => {
      const rows = await db
        .selectFrom('requests')
        .selectAll()
        .where('territory_id', '=', territory.id)
        .where('key_id', '=', actorOf(principal(request)))
        .orderBy('created_at_ms', 'desc')
        .limit(LISTED_MAX)
        .execute();
      return rows.map((row) => ({
        id: row.id,
        model: row.model_cid,
        state: row.state,
        reason: row.reason,
        createdAt: iso(row.created_at_ms),
        finishedAt: isoOrNull(row.finished_at_ms),
        promptTokens: row.prompt_tokens,
        answerTokens: row.answer_tokens,
        failovers: row.failovers,
        exact: row.exact === 1,
      }));
    },
  });
  typed(app).route({
    method: 'GET',
    url: '/api/audit',
    config: { action: 'readAudit' },
    schema: {
      querystring: z.strictObject({ beforeSeq: z.coerce.number().int().min(1).optional() }),
      summary: 'The audit log, newest first, and whether its chain holds',
      tags: ['hub'],
    },
    handler: async (request) => {
      const { beforeSeq } = request.query;
      const entries = await audit.list({
        territory: territory.id,
        limit: LISTED_MAX,
        ...(beforeSeq === undefined ? {} : { beforeSeq }),
      });
      const verdict = await audit.verify(territory.id);
      return {
        intact: verdict.intact,
        ...(verdict.intact ? {} : { brokenAt: verdict.seq, why: verdict.why }),
        entries: entries.map(({ seq, atMs, actor, action, subject, details, hash }) => ({
          seq,
          at: iso(atMs),
          actor,
          action,
          subject,
          details,
          hash: hex(hash),
        })),
      };
    },
  });
}
