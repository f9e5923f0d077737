/** The devices of a community: of many kinds by the dice, each with an invite, behind one door. */
import { IdlewildError, type BlobSource, type Crypto, type DeviceTier, type ErrorCode } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import type { FakeClock } from '@idlewild/protocol/testing';
import type { Chance } from '../chance.ts';
import { TRUSTED, drawTrust, type TrustTraits } from '../callers/texts.ts';
import type { Steward } from '../steward.ts';
import { requestOf, watchOf, type Watched } from '../watch.ts';
import type { Cluster } from './cluster.ts';
import { createDevice, type DeviceTraits, type SimDevice } from './device.ts';
import type { Door, Link } from './link.ts';

export interface FleetDeps extends Watched {
  readonly clock: FakeClock;
  readonly crypto: Crypto;
  readonly cluster: Cluster;
  /** How many. */
  readonly devices: number;
  /** No device has room for all models. */
  readonly isCrowded: boolean;
  /** Every device may see every text. */
  readonly isTrusting: boolean;
  readonly hasReplicas: boolean;
  readonly heedsLender: boolean;
  readonly revoking: ReadonlySet<string>;
  readonly over: Set<string>;
  chance(stream: string): Chance;
}

const DEVICES_PER_INVITE = 50;
/** Of a model of a crowded world; others have four times as many. */
export const CROWDED_BYTES = 100_000;

export async function createDevices(fleet: FleetDeps, steward: Steward): Promise<SimDevice[]> {
  const { clock, chance } = fleet;
  const territory = fleet.cluster.running()[0]?.hub.territory.publicKey as Uint8Array;
  const elsewhere = (await nodeCrypto.signingKey(chance('elsewhere').bytes(32))).publicKey;
  const devices: SimDevice[] = [];
  const invites = new Map<DeviceTier, { readonly secret: Uint8Array; left: number }>();
  const inviteFor = async (tier: DeviceTier): Promise<Uint8Array> => {
    let invite = invites.get(tier);
    if (invite === undefined || invite.left === 0) {
      invite = { secret: await steward.createInvite(DEVICES_PER_INVITE, tier), left: DEVICES_PER_INVITE };
      invites.set(tier, invite);
    }
    invite.left--;
    return invite.secret;
  };
  for (let index = 0; index < fleet.devices; index++) {
    const drawn = drawTraits(chance(`traits ${index}`), index, fleet.isCrowded);
    const traits = { ...drawn, ...(fleet.isTrusting ? TRUSTED : drawTrust(chance(`trust ${index}`))) };
    devices.push(
      await createDevice({
        clock,
        territory,
        elsewhere,
        inviteSecret: await inviteFor(traits.tier),
        crypto: fleet.crypto,
        heedsLender: fleet.heedsLender,
        chance: chance(`device ${index}`),
        traits,
        door: () => doorOf(fleet),
        fetchBlob: (device, ticket, link) => fetchBlob(fleet, device, ticket, link),
        watch: (device) => watchOf(fleet, device),
        otherLease: (device) => [...fleet.leases.values()].find((lease) => lease.device !== device),
        hasReplicas: fleet.hasReplicas,
        onRan: (device, work, forbidden) =>
          fleet.record.note({ e: 'ran', device, request: requestOf(work), tokens: work.tokens.length, forbidden }),
        onEnded: (device, code) => onEnded(fleet, device, code),
      }),
    );
  }
  return devices;
}

function drawTraits(chance: Chance, index: number, crowded: boolean): Omit<DeviceTraits, keyof TrustTraits> {
  const oddity = chance.unit();
  // Some are alone in their class, and fast, so that answers begin there and must go on elsewhere.
  const alone = chance.happens(0.1);
  return {
    name: `device ${index}`,
    family: alone ? 3 + index : chance.pick([0, 0, 0, 1, 1, 2]),
    tokensPerSecond: alone ? chance.between(50, 80) : chance.between(6, 60),
    boast: chance.happens(0.05) ? 4 : 1,
    slots: chance.whole(1, 3),
    latencyMs: chance.between(1, 60),
    jitterMs: chance.between(0, 30),
    loadMs: chance.between(50, 1_500),
    diskBytes: crowded ? CROWDED_BYTES * (3 + (index % 5)) : 2 ** 22,
    memoryBytes: crowded ? CROWDED_BYTES * (2 + (index % 5)) : 2 ** 30,
    lends: oddity < 0.03 ? 'nothing' : oddity < 0.06 ? 'elsewhere' : 'answers',
    stranger: oddity > 0.99,
  };
}

function doorOf({ cluster }: FleetDeps): Door | undefined {
  const process = cluster.pick();
  return process === undefined ? undefined : { process, accept: (channel) => process.accept(channel) };
}

function onEnded(fleet: FleetDeps, device: string, code: ErrorCode): void {
  const { record, over, revoking } = fleet;
  if (fleet.byId.get(device)?.isRunning() !== true) over.add(device);
  const because = code === 'superseded' || (code === 'device_revoked' && revoking.has(device));
  record.note({ e: 'ended', device, code, because });
}

/** The blob route, as the gateway has it. */
function fetchBlob(fleet: FleetDeps, device: string, ticket: string, link: Link): BlobSource['fetch'] {
  return async (cid) => {
    const latencyMs = fleet.byId.get(device)?.traits.latencyMs ?? 0;
    await new Promise<void>((resolve) => {
      fleet.clock.after(latencyMs, resolve);
    });
    const process = fleet.cluster.awake();
    if (process === undefined || link.isBlocked()) throw new IdlewildError('hub_unreachable', 'no answer');
    const bearer = await process.hub.ticketHolders.holderOf(ticket);
    if (bearer === undefined) throw new IdlewildError('unauthenticated', 'the ticket is of no open session');
    const { hub } = process;
    const principal = { kind: 'device', deviceId: bearer.device, territory: bearer.territory } as const;
    await hub.policy.check(principal, 'fetchBlob', { territory: hub.territory.id });
    fleet.record.note({ e: 'told', replica: process.id, device: bearer.device, kind: 'blob' });
    const served = await hub.blobs.fetch(cid, bearer.device);
    served?.ended(true);
    return served?.bytes;
  };
}
