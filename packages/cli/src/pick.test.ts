import { expect, test } from 'vitest';
import { pick } from './pick.ts';

const things = [
  { id: 'dev_abc', name: 'ada' },
  { id: 'dev_abd', name: 'babbage' },
  { id: 'dev_xyz', name: 'twin' },
  { id: 'dev_xzz', name: 'twin' },
  { id: 'dev_qqq', name: null },
];

test.each([
  ['dev_abc', 'dev_abc'],
  ['ada', 'dev_abc'],
  ['dev_abd', 'dev_abd'],
  ['xy', 'dev_xyz'],
  ['dev_q', 'dev_qqq'],
])('%s means %s', (wanted, id) => {
  expect(pick(things, wanted, 'device').id).toBe(id);
});

test('what could be several is refused with their ids, what is nothing with what there is', () => {
  expect(() => pick(things, 'twin', 'device')).toThrow(/could be twin \(dev_xyz\), twin \(dev_xzz\); write more/);
  expect(() => pick(things, 'ab', 'device')).toThrow(/could be ada \(dev_abc\), babbage/);
  expect(() => pick(things, 'nobody', 'device')).toThrow(/no device is called "nobody".*ada \(dev_abc\)/);
  expect(() => pick([], 'ada', 'device')).toThrow(/there is no device at all/);
  expect(() => pick(things, '', 'device')).toThrow(/no device/);
});
