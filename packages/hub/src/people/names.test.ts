import { expect, test } from 'vitest';
import { groupName, personName, roleName } from './names.ts';

test.each([
  ['Ada', 'Ada'],
  ['  Ada   Lovelace ', 'Ada Lovelace'],
  ['Ａｄａ', 'Ada'],
  ['Zoe\u0308', 'Zoë'],
  ['李小龍', '李小龍'],
  ["O'Brien-Ng, Jr. 2", "O'Brien-Ng, Jr. 2"],
])('a person may be called %j, which is kept as %j', (text, name) => {
  expect(personName(text)).toBe(name);
});

test.each([
  '',
  '   ',
  '!!!',
  'a\nb',
  'a\u2028b',
  'a\u001b[31mb',
  'a\u202egnp',
  'a\u200bb',
  'x'.repeat(65),
  `per_${'a'.repeat(26)}`,
  '\ud800x',
])('nobody is called %j', (text) => {
  expect(() => personName(text)).toThrow(expect.objectContaining({ code: 'invalid_request' }));
});

test.each(['a', 'reading-room', '2026', 'x'.repeat(64)])('%j is the name of a group and of a role', (slug) => {
  expect(groupName(slug)).toBe(slug);
  expect(roleName(slug)).toBe(slug);
});

test.each(['', 'A', 'a b', '-a', 'a-', 'a_b', 'ä', 'a/b', '..', 'x'.repeat(65), 'a\n'.repeat(2)])(
  '%j is no name of a group',
  (text) => {
    expect(() => groupName(text)).toThrow(expect.objectContaining({ code: 'invalid_request' }));
  },
);

test.each([
  'steward',
  'stewards',
  'stevvard',
  '5teward',
  'st3ward',
  'ste-ward',
  'stewart',
  'setward',
  'mernber',
  'members',
  'ca11er',
  'cal1er',
  '1ender',
  'aud1tor',
  'auditors',
])('a role called %j could be taken for a built-in one', (name) => {
  expect(() => roleName(name)).toThrow(/built-in role/);
});

test.each(['librarian', 'key-desk', 'shift-lead', 'member-desk', 'stewardship'])('%j is a name like others', (name) => {
  expect(roleName(name)).toBe(name);
});
