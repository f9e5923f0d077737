import { base64url } from 'multiformats/bases/base64';
import { expect, test } from 'vitest';
import { encodeCbor } from '../wire/frame.ts';
import { decodeInvite, encodeInvite, joinTokenOf, type Invite } from './invite.ts';

const full: Invite = {
  url: 'https://hub.example:7860',
  secret: new Uint8Array(16).fill(1),
  territory: new Uint8Array(32).fill(2),
  pin: new Uint8Array(32).fill(3),
};

test('an invite survives being written and read, with a pin, without, and to a hub behind a balancer', () => {
  const { pin: _, ...loopback } = { ...full, url: 'http://127.0.0.1:7860' };
  for (const invite of [full, loopback, { ...loopback, session: true }, { ...full, vouched: true }])
    expect(decodeInvite(encodeInvite(invite))).toEqual(invite);
  expect(decodeInvite(`  ${encodeInvite(full)}\n`)).toEqual(full);
});

test('the same invite is the same text everywhere', () => {
  expect(encodeInvite(full)).toBe(
    'iwj1.pGFwWCADAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDAwMDA2FzUAEBAQEBAQEBAQEBAQEBAQFhdFggAgICAgICAgICAgICAgICAgICAgIC' +
      'AgICAgICAgICAgJhdXgYaHR0cHM6Ly9odWIuZXhhbXBsZTo3ODYw',
  );
  expect(joinTokenOf(full.secret)).toBe('AQEBAQEBAQEBAQEBAQEBAQ');
});

test('an invite that a steward vouches for is of another kind, which older devices do not take for theirs', () => {
  const text = encodeInvite({ ...full, vouched: true });
  expect(text).toMatch(/^iwj2\./);
  expect(decodeInvite(text.replace('iwj2.', 'iwj1.'))).not.toHaveProperty('vouched');
  expect(() => decodeInvite(text.replace('iwj2.', 'iwj3.'))).toThrow(/does not begin with/);
});

test('a field that this side does not know is ignored', () => {
  const text = base64url.baseEncode(encodeCbor({ u: full.url, s: full.secret, t: full.territory, z: 1 }));
  expect(decodeInvite(`iwj1.${text}`).url).toBe(full.url);
});

test('a way to protect the session that this side does not know is refused, and not left out', () => {
  const text = base64url.baseEncode(encodeCbor({ u: full.url, s: full.secret, t: full.territory, b: 2 }));
  expect(() => decodeInvite(`iwj1.${text}`)).toThrow(/"b" is wrong/);
});

test.each([
  ['a word', 'hello', /does not begin with "iwj1\."; copy all/],
  ['nothing', '', /does not begin/],
  ['a token cut short', encodeInvite(full).slice(0, 60), /damaged or cut short/],
  ['characters that base64url lacks', 'iwj1.%%%', /damaged/],
  ['a flood', `iwj1.${'A'.repeat(10_000)}`, /longer than 2048/],
  ['a short secret', encodeInvite({ ...full, secret: new Uint8Array(8) }), /"s" is wrong/],
  ['an address of another kind', encodeInvite({ ...full, url: 'file:///etc/passwd' }), /"u" is wrong/],
])('%s is refused as an invite', (_, text, message) => {
  const refusal = { code: 'join_token_invalid', message: expect.stringMatching(message) };
  expect(() => decodeInvite(text)).toThrow(expect.objectContaining(refusal));
});
