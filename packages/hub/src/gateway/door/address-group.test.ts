import { expect, test } from 'vitest';
import { addressGroup, isOwnMachine } from './address-group.ts';

test.each([
  ['192.0.2.7', '192.0.2.7'],
  ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
  ['2001:0DB8:0001:0002::9', '2001:db8:1:2::/64'],
  ['2001:db8::1', '2001:db8:0:0::/64'],
  ['2001:db8:1::192.0.2.7', '2001:db8:1:0::/64'],
  ['::1', '0:0:0:0::/64'],
  ['::', '0:0:0:0::/64'],
  // Mapped, however it is written; translated.
  ['::ffff:192.0.2.7', '192.0.2.7'],
  ['::FFFF:c000:0207', '192.0.2.7'],
  ['0:0:0:0:0:ffff:c000:207', '192.0.2.7'],
  ['::ffff:0:192.0.2.7', '192.0.2.7'],
  // NAT64, of everybody and of one network.
  ['64:ff9b::192.0.2.7', '192.0.2.7'],
  ['64:ff9b::c000:207', '192.0.2.7'],
  ['64:ff9b:1::192.0.2.7', '192.0.2.7'],
  ['64:ff9b:1:2:3:4:c000:207', '192.0.2.7'],
  ['64:ff9b:2::c000:207', '64:ff9b:2:0::/64'],
  // 6to4: a whole /48 of whoever has the address.
  ['2002:c000:207::1', '192.0.2.7'],
  ['2002:c000:207:ffff:1:2:3:4', '192.0.2.7'],
  // Teredo: the same behind any server and port.
  ['2001:0:4136:e378:8000:63bf:3fff:fdf8', '192.0.2.7'],
  ['2001::1:2:3fff:fdf8', '192.0.2.7'],
  // Of one link; what is no zone of a link is none.
  ['fe80::1%eth0', 'fe80:0:0:0::/64%eth0'],
  ['fe80::ffff:1%eth0', 'fe80:0:0:0::/64%eth0'],
  ['fe80::1%eth1', 'fe80:0:0:0::/64%eth1'],
  ['2001:db8::1%eth0', '2001:db8:0:0::/64'],
  ['::ffff:192.0.2.7%1', '192.0.2.7'],
  // Not addresses.
  ['unknown', 'unknown'],
  ['192.0.2.777', '192.0.2.777'],
  ['1:2:3', '1:2:3'],
])('%s is counted as %s', (address, group) => {
  expect(addressGroup(address)).toBe(group);
});

test.each([
  ['127.0.0.1', true],
  ['127.9.9.9', true],
  ['::ffff:127.0.0.1', true],
  ['::1', true],
  ['0:0:0:0:0:0:0:1', true],
  ['::', false],
  ['::2', false],
  // What only looks like it.
  ['2002:7f00:1::1', false],
  ['64:ff9b::127.0.0.1', false],
  ['192.0.2.7', false],
  ['fe80::1%eth0', false],
  ['unknown', false],
])('that %s is this very machine is %s', (address, isOwn) => {
  expect(isOwnMachine(address)).toBe(isOwn);
});
