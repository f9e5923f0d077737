import { expect, test } from 'vitest';
import { heardHub, hostName, instanceName, txtOf, type AnnouncedHub } from './record.ts';

const TERRITORY = `ter_${'a'.repeat(26)}`;
const HUB = `hub_bcdefghijk${'2'.repeat(16)}`;
const announced: AnnouncedHub = {
  hub: HUB,
  territory: { id: TERRITORY, name: 'home' },
  isEncrypted: true,
  version: '0.1.0',
};
const heard = { name: 'home bcdefghijk', port: 7860, txt: txtOf(announced), addresses: ['10.0.0.5'] };

test('what was announced is what is heard', () => {
  expect(instanceName(announced)).toBe('home bcdefghijk');
  expect(hostName(HUB)).toBe('idlewild-bcdefghijk.local');
  expect(heardHub(heard)).toEqual({
    name: 'home bcdefghijk',
    territory: { id: TERRITORY, name: 'home' },
    urls: ['https://10.0.0.5:7860'],
    isEncrypted: true,
    version: '0.1.0',
  });
});

test('the longest name fits a label of 63 bytes, whatever its characters take', () => {
  for (const name of ['é'.repeat(64), '🦉'.repeat(32), 'a.b.'.repeat(16)]) {
    const label = instanceName({ ...announced, territory: { id: TERRITORY, name } });
    expect(Buffer.byteLength(label)).toBeLessThanOrEqual(63);
    expect(label).toMatch(/ bcdefghijk$/);
    expect(label).not.toMatch(/\.|\uFFFD/);
  }
});

test('what could steer a terminal, hide or turn text is taken out of it, and the rest is cut', () => {
  const name = '\u001b[2J\u009b31mho\u202eme\u200b\r\nagain\t\u0000';
  const txt = { ...heard.txt, territory: name + 'x'.repeat(10_000), version: '\u001b]0;x\u0007'.repeat(2_000) };
  const hub = heardHub({ ...heard, name, txt });
  expect(hub?.name).toBe('[2J31mhome again');
  expect(hub?.territory.name).toMatch(/^\[2J31mhome again x+$/);
  expect(hub?.territory.name.length).toBe(64);
  expect(hub?.version.length).toBeLessThanOrEqual(32);
  expect(JSON.stringify(hub)).not.toMatch(/\\u00|\p{Cc}|\p{Cf}/u);
});

test.each([
  ['no TXT record', { txt: undefined }],
  ['another version', { txt: { ...heard.txt, v: '2' } }],
  ['an id that is none', { txt: { ...heard.txt, id: 'ter_../../etc' } }],
  ['an id that is longer', { txt: { ...heard.txt, id: `${TERRITORY}a` } }],
  ['a port that is none', { port: 70_000 }],
  ['no address', { addresses: [] }],
  ['addresses that are none', { addresses: ['10.0.0.5@evil.example', 'example.org', 7, null] }],
  ['no name', { name: undefined }],
])('a record with %s is no hub', (_, broken) => {
  expect(heardHub({ ...heard, ...broken })).toBeUndefined();
});

test('of many addresses the one that answered comes first, and a few are kept', () => {
  const many = Array.from({ length: 300 }, (__, index) => `10.0.${Math.floor(index / 256)}.${index % 256}`);
  const hub = heardHub({ ...heard, addresses: ['fe80::1', ...many], referer: { address: '10.0.1.9' } });
  expect(hub?.urls).toHaveLength(8);
  expect(hub?.urls[0]).toBe('https://10.0.1.9:7860');
  expect(heardHub({ ...heard, addresses: [], referer: { address: '10.0.0.9' } })?.urls).toEqual([
    'https://10.0.0.9:7860',
  ]);
});
