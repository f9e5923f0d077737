import { encodeInvite, type Invite } from '@idlewild/protocol';
import { expect, test } from 'vitest';
import { consentLines } from './consent-screen.ts';

const invite: Invite = {
  url: 'https://hub.example:7860',
  secret: new Uint8Array(16).fill(1),
  territory: new Uint8Array(32).fill(2),
};
const told = async (change: Partial<Invite> | undefined, address?: string): Promise<string> => {
  const lines = await consentLines({
    address,
    invite: change === undefined ? undefined : encodeInvite({ ...invite, ...change }),
    name: 'kettle',
    data: '/data',
    presence: 'respect',
    tokensPerSecondMax: undefined,
    diskBytesMax: undefined,
    uploadBytesPerSecondMax: undefined,
    json: false,
  });
  return lines.join('\n');
};

test.each<[string, Partial<Invite>, RegExp]>([
  ['behind a balancer', { session: true }, /Line {3}sealed between this machine and the hub/],
  ['whose key is pinned', { pin: new Uint8Array(32) }, /Line {3}TLS with the hub's own key/],
  ['that an authority vouches for', {}, /Line {3}TLS with a certificate that an authority/],
  ['on this machine', { url: 'http://127.0.0.1:7860' }, /Line {3}not encrypted: the hub is on this machine/],
])('a lender is told what protects the line to a hub %s', async (_, change, words) => {
  expect((await told(change)).match(/^Line/gm)).toHaveLength(1);
  expect(await told(change)).toMatch(words);
});

test('the address that is given counts, and where nothing is known of the line nothing is said of it', async () => {
  expect(await told({}, 'http://127.0.0.1:7860')).toContain('not encrypted');
  expect(await told(undefined, 'https://hub.example')).not.toMatch(/^Line/m);
});
