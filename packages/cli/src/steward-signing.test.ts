/** Claims about the key by which a steward vouches. */
import { chmodSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { nodeCrypto, nodeRandom } from '@idlewild/protocol/node';
import { expect, onTestFinished, test } from 'vitest';
import { signingKeyFile, stewardSigningKey } from './steward-signing.ts';

const ports = { crypto: nodeCrypto, random: nodeRandom };
function folder(): string {
  const made = mkdtempSync(join(tmpdir(), 'idlewild-steward-'));
  onTestFinished(() => rmSync(made, { recursive: true }));
  return made;
}

test('it is made once, is the same from then on, and is readable by its owner alone', async () => {
  const file = signingKeyFile(join(folder(), 'not', 'there', 'yet'));
  const first = await stewardSigningKey(file, ports);
  const second = await stewardSigningKey(file, ports);
  expect([first.isNew, second.isNew]).toEqual([true, false]);
  expect(second.key).toEqual(first.key);
  if (process.platform !== 'win32') expect(statSync(file).mode & 0o777).toBe(0o600);
});

test('two that begin at once come to the same key', async () => {
  const file = signingKeyFile(folder());
  const [one, other] = await Promise.all([stewardSigningKey(file, ports), stewardSigningKey(file, ports)]);
  expect(one.key).toEqual(other.key);
});

test('a file that is no key is left as it is, and named', async () => {
  const file = signingKeyFile(folder());
  writeFileSync(file, 'my notes\n');
  chmodSync(file, 0o600);
  await expect(stewardSigningKey(file, ports)).rejects.toMatchObject({
    code: 'data_corrupt',
    message: expect.stringContaining(file),
  });
});
