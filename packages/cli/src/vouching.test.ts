/** Claims about what a steward signs: no device but the one that was named, whatever a hub shows. */
import { idOfKey, wellKnownKey } from '@idlewild/protocol';
import { nodeCrypto } from '@idlewild/protocol/node';
import { expect, test } from 'vitest';
import { keyOfDevice, sameAs } from './vouching.ts';

const shownAs = async (byte: number, name: string): Promise<{ id: string; name: string; key: string }> => {
  const { publicKey } = await nodeCrypto.signingKey(new Uint8Array(32).fill(byte));
  return { id: await idOfKey('dev', publicKey, nodeCrypto), name, key: wellKnownKey(publicKey) };
};
const [ada, evil] = await Promise.all([shownAs(1, 'ada'), shownAs(2, 'ada')]);

test('an honest hub shows the key that the id is made of', async () => {
  expect(wellKnownKey(await keyOfDevice(ada))).toBe(ada.key);
  expect(await sameAs(ada, ada.id)).toBe(ada);
});

test('another key under an id is signed by nobody', async () => {
  await expect(keyOfDevice({ ...ada, key: evil.key })).rejects.toMatchObject({ code: 'signature_invalid' });
  await expect(keyOfDevice({ ...ada, key: '' })).rejects.toMatchObject({ code: 'signature_invalid' });
});

test("a device that the hub calls by another one's id is not taken for it", async () => {
  await expect(sameAs({ ...evil, name: ada.id }, ada.id)).rejects.toMatchObject({ code: 'signature_invalid' });
  expect(await sameAs(evil, 'ada')).toBe(evil);
});
