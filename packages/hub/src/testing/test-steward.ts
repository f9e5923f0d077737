/** A steward whose signing key a test holds, and who vouches for devices as `idlewild devices vouch` does. */
import { idOfKey, signDeviceVouch } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import type { Hub } from '../hub.ts';
import type { ScriptedDevice } from './scripted-device.ts';

const VOUCHED_MS = 86_400_000;

/** Listed at the hub from now on; `vouch` resolves with the id of the device. */
export async function addTestSteward(
  { vouches, territory }: Pick<Hub, 'vouches' | 'territory'>,
  now: () => number,
): Promise<(device: Pick<ScriptedDevice, 'key'>) => Promise<string>> {
  const ours = { territory: territory.id, actor: 'test' };
  const steward = await nodeCrypto.signingKey(new Uint8Array(32).fill(3));
  await vouches.addSteward({ ...ours, publicKey: steward.publicKey, name: 'Ada' });
  return async ({ key: { publicKey: device } }) => {
    const life = { issuedAtMs: now(), expiresAtMs: now() + VOUCHED_MS };
    const said = { territory: territory.publicKey, device, tier: 'vetted' as const, ...life };
    const id = await idOfKey('dev', device, nodeCrypto);
    await vouches.put({ ...ours, device: id, chain: [await signDeviceVouch(said, steward, nodeCrypto)] });
    return id;
  };
}
