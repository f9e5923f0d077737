import { expect, test } from 'vitest';
import { checkTexts } from './whole-texts.ts';

test('a NUL or half a character is refused wherever it stands, and said where', () => {
  for (const bad of ['a\u0000', '\ud800', 'x\udc00y']) {
    expect(() => checkTexts(bad)).toThrow(/the request/);
    expect(() => checkTexts({ groups: ['ok', { name: bad }] })).toThrow(/"groups\.1\.name"/);
    expect(() => checkTexts({ [bad]: 1 })).toThrow(/half a character/);
  }
});

test('whole texts of any language, numbers, bytes and nothing pass', () => {
  for (const good of ['Ada 👩‍💻 Łódź \u001b', 7, true, null, undefined, Buffer.from([0, 0xd8]), { a: [[], {}] }])
    expect(() => checkTexts(good)).not.toThrow();
});

test('nobody makes it run out of stack', () => {
  let deep: unknown = 'x\u0000';
  for (let index = 0; index < 20_000; index++) deep = [deep];
  expect(() => checkTexts(deep)).toThrow(/half a character/);
});
