/**
 * What end-to-end encrypted prompts need in tests and in the bench: a steward's key, devices that it vouches for as
 * `idlewild devices vouch` does, and a hub with a wiretap on either side.
 */
import { decodeInvite, encodeInvite, signDeviceVouch, type KeyPair } from '@idlewild/protocol';
import { nodeCrypto, systemClock } from '@idlewild/protocol/node';
import type { Client } from '@idlewild/client';
import { startWiretap, type Wiretap } from '../bench/people/haystacks.ts';
import type { SearchedHub } from '../bench/people/sealed-traces.ts';
import { MODEL, type DeviceProcess, type HubProcess, type World } from './world.ts';

export const steward = nodeCrypto.signingKey(new Uint8Array(32).fill(21)) as KeyPair;
const VOUCHED_MS = 3_600_000;

export const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64url');
const bytesOf = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, 'base64url'));

export const territoryOf = async (client: Client): Promise<Uint8Array> =>
  bytesOf((await client.wellKnown()).territory.key);

/** Once, before the first device. */
export const addSteward = (client: Client): Promise<unknown> =>
  client.stewards.add({ name: 'Ada', key: textOf(steward.publicKey) });

/** For the device of that name. Throws where there is none. */
export async function vouchFor(client: Client, name: string): Promise<void> {
  const device = (await client.devices.list()).find((each) => each.name === name);
  if (device === undefined) throw new Error(`there is no device ${name}`);
  const issuedAtMs = systemClock.now();
  const said = {
    territory: await territoryOf(client),
    device: bytesOf(device.key),
    tier: 'vetted' as const,
    issuedAtMs,
    expiresAtMs: issuedAtMs + VOUCHED_MS,
  };
  await client.devices.trust.vouch(device.id, [textOf(await signDeviceVouch(said, steward, nodeCrypto))]);
}

/** A hub that publishes the bundled model and has the steward. */
export interface ListenedHub {
  readonly hub: HubProcess;
  readonly callers: Wiretap;
  readonly devices: Wiretap;
  readonly territory: Uint8Array;
  /** For a search of everything that it saw. */
  readonly searched: SearchedHub;
  /** A device past the wiretap, vouched for, and slow enough for an answer to have a middle. */
  join(name: string): Promise<DeviceProcess>;
  /** Ends the wiretaps; the hub ends with its world. */
  end(): Promise<void>;
}

const TOKENS_PER_SECOND = 60;

export async function startListenedHub(world: World): Promise<ListenedHub> {
  const [callers, devices] = [await startWiretap('sockets of callers'), await startWiretap('sockets of devices')];
  const hub = await world.startHub();
  for (const tap of [callers, devices]) tap.target(hub.port);
  await world.publish(hub);
  await addSteward(hub.client);
  const { pid, data } = hub;
  const printed = (): string => hub.log() + hub.said();
  return {
    hub,
    callers,
    devices,
    territory: await territoryOf(hub.client),
    searched: { pid, data, stewardKey: hub.key, model: MODEL, printed, callers, devices },
    async join(name) {
      const { token } = await hub.client.invites.create({ uses: 1, expiresInSeconds: 600 });
      // In the open, so that the wiretap hears what the hub hears.
      const invite = encodeInvite({ ...decodeInvite(token), url: devices.url });
      const consent = { tokensPerSecondMax: TOKENS_PER_SECOND };
      const device = await world.startDevice(hub, name, { invite, consent });
      await vouchFor(hub.client, name);
      return device;
    },
    async end() {
      await callers.close();
      await devices.close();
    },
  };
}
