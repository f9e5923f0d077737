/**
 * The steward of the community: privileged acts, each authenticated, authorised and done as the routes under /api do
 * it. An act that the hub acknowledged becomes an event; one under which the hub died is in the log or is not.
 */
import { codeOf, type DeviceTier } from '@idlewild/protocol';
import type { Hub, KeyPrincipal } from '@idlewild/hub';
import type { Act, Action, Done } from './act.ts';
import type { CallerKey } from './callers/callers.ts';
import type { HubProcess } from './machines/hub-process.ts';
import { createMemberActs, type MemberActs } from './members/steward-acts.ts';
import type { Record } from './record.ts';

export interface Steward extends MemberActs {
  createKey(name: string, of?: KeyOf): Promise<CallerKey>;
  /** By this process; any that answers, unless it is said. */
  revokeKey(id: string, by?: HubProcess): Promise<void>;
  createInvite(uses: number, tier: DeviceTier): Promise<Uint8Array>;
  tierDevice(id: string, tier: DeviceTier): Promise<void>;
  addModel(manifest: string, name: string): Promise<void>;
  drainDevice(id: string): Promise<void>;
  revokeDevice(id: string, by?: HubProcess): Promise<void>;
  /** Somebody without the right tries the same; nothing may come of it. */
  meddle(caller: CallerKey): Promise<void>;
  /** Whatever else a steward may do. */
  readonly act: Act;
}

/** Whose key it is; absent: the community's, for whoever calls. */
export interface KeyOf {
  readonly role: string;
  readonly person?: string;
  readonly project?: string;
}

export interface StewardDeps {
  readonly record: Record;
  readonly process: () => HubProcess | undefined;
  readonly nowMs: () => number;
  /** A test breaks the world by leaving this out. */
  readonly dropsRevoked: boolean;
}

const INVITE_MS = 3_600_000;

/** Makes the first steward's key, as the hub's first start does. */
export async function createSteward({ record, process, nowMs, dropsRevoked }: StewardDeps): Promise<Steward> {
  const first = current();
  const { hub } = first;
  const made = await hub.keys.create({ territory: hub.territory.id, role: 'steward', name: 'steward', actor: hub.id });
  record.note({ e: 'act', action: 'createKey', subject: made.id, actor: hub.id });

  function current(): HubProcess {
    const running = process();
    if (running === undefined) throw new Error('a steward acts only while the hub runs');
    return running;
  }

  async function act<Result>(
    action: Action,
    run: (hub: Hub, territory: string, by: KeyPrincipal) => Promise<Done<Result>>,
    acting: HubProcess = current(),
  ): Promise<Result> {
    const territory = acting.hub.territory.id;
    const principal = await acting.hub.keys.authenticate(made.key);
    await acting.hub.policy.check(principal, action, { territory });
    const { action: done = action, subject, result, isVain = false } = await run(acting.hub, territory, principal);
    if (!isVain) acting.give(() => record.note({ e: 'act', action: done, subject, actor: principal.keyId }));
    return result;
  }

  return {
    ...createMemberActs(record, act, nowMs),
    act,
    createKey: (name, of = { role: 'caller' }) =>
      act('createKey', async (hub, territory, { keyId: actor }) => {
        const { id, key } = await hub.keys.create({ territory, name, actor, ...of });
        const { person, project } = of;
        return { subject: id, result: { id, key, person, project } };
      }),
    revokeKey: (id, by) =>
      act(
        'revokeKey',
        async (hub, territory, { keyId: actor }) => {
          await hub.keys.revoke({ territory, id, actor });
          return { subject: id, result: undefined };
        },
        by,
      ),
    async tierDevice(device, tier) {
      const acting = current();
      record.note({ e: 'trusting', device, tier });
      await act(
        'tierDevice',
        async (hub, territory, { keyId: actor }) => {
          const isVain = !(await hub.deviceTrust.set({ territory, id: device, tier, actor }));
          return { subject: device, result: undefined, isVain };
        },
        acting,
      );
      acting.give(() => record.note({ e: 'trusted', device, tier }));
    },
    createInvite: (uses, tier) =>
      act('createInvite', async (hub, territory, { keyId: actor }) => {
        const { id, secret } = await hub.invites.create({
          territory,
          uses,
          expiresInMs: INVITE_MS,
          createdBy: actor,
          tier,
        });
        return { subject: id, result: secret };
      }),
    addModel: (manifest, name) =>
      act('addModel', async (hub, territory, { keyId: actor }) => {
        const { cid } = await hub.models.add({ territory, name, manifest, actor });
        await hub.announceModels();
        return { subject: cid, result: undefined };
      }),
    drainDevice: (id) =>
      act('drainDevice', async (hub, territory, { keyId: actor }) => {
        const entry = { territory, actor, action: 'drainDevice', subject: id };
        await hub.db.transaction().execute((transaction) => hub.audit.append(transaction, entry));
        hub.sessions.drain(id, 'a steward asked for it');
        return { subject: id, result: undefined };
      }),
    revokeDevice: (id, by) =>
      act(
        'revokeDevice',
        async (hub, territory, { keyId: actor }) => {
          await hub.devices.revoke({ territory, id, actor });
          if (dropsRevoked) hub.sessions.drop(id, 'device_revoked', 'a steward of the territory revoked this device');
          return { subject: id, result: undefined };
        },
        by,
      ),
    async meddle({ key }) {
      const { hub } = current();
      try {
        const principal = await hub.keys.authenticate(key);
        await hub.policy.check(principal, 'createInvite', { territory: hub.territory.id });
        record.note({ e: 'act', action: 'createInvite', subject: 'nothing', actor: principal.keyId });
      } catch (error) {
        record.note({ e: 'denied', action: 'createInvite', actor: codeOf(error) ?? 'unknown' });
      }
    },
  };
}
