/** Claims about where a hub may send a device. */
import { expect, test } from 'vitest';
import { whyNotSent } from './local-hosts.ts';

const LOCAL = [
  '127.0.0.1',
  '10.1.2.3',
  '172.16.0.1',
  '172.31.255.255',
  '192.168.1.1:8443',
  '169.254.169.254',
  '100.64.0.1',
  '0.0.0.0',
  '224.0.0.1',
  '255.255.255.255',
  // The same in other words.
  '2130706433',
  '0x7f.1',
  '0300.0250.1.1',
  '192.168.257',
  '127.0.0.1.',
  '[::1]',
  '[::]',
  '[fe80::1]',
  '[fd00::1]',
  '[::ffff:192.168.1.1]',
  '[::ffff:7f00:1]',
  '[64:ff9b::10.0.0.1]',
  '[ff02::1]',
  'localhost',
  'LOCALHOST.',
  'a.localhost',
  'router',
  'printer.local',
  'nas.home.arpa',
  'metadata.google.internal',
];
const PUBLIC = [
  '203.0.114.7',
  '9.255.255.255',
  '11.0.0.1',
  '172.15.0.1',
  '172.32.0.1',
  '192.169.0.1',
  '100.128.0.1',
  '[2a01:4f8::1]',
  '[::ffff:9.9.9.9]',
  'hub.example.org',
  'local.example.org',
];

test('a hub of the internet sends nobody into a local network, whatever it calls it', () => {
  for (const known of ['https://hub.example.org:7860', 'https://9.9.9.9', 'https://[2a01:4f8::1]:7860']) {
    for (const host of LOCAL) {
      expect([host, whyNotSent(known, `https://${host}`)]).toEqual([host, expect.stringMatching(/of a local network/)]);
    }
    for (const host of PUBLIC) expect([host, whyNotSent(known, `https://${host}`)]).toEqual([host, undefined]);
  }
});

test('a hub of the local network, or of this machine, sends its devices where it wants', () => {
  for (const host of LOCAL) {
    for (const told of [...LOCAL, ...PUBLIC]) {
      expect([host, told, whyNotSent(`http://${host}`, `https://${told}`)]).toEqual([host, told, undefined]);
    }
  }
});
