/** Claims about the file of rules of use that were seen: it outlives its process, and damaged it is no empty one. */
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { seenRulesIn } from './seen-rules.ts';

function inFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-seen-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  return join(folder, 'new', 'rules.seen.json');
}

test('what one process saw another one finds, by community and steward', async () => {
  const file = inFolder();
  const [here, there] = [seenRulesIn(file), seenRulesIn(file)];
  expect(await here.of('ab')).toEqual(new Map());
  await here.note('ab', '01', { version: 4, issuedAtMs: 9 });
  await there.note('ab', '02', { version: 2, issuedAtMs: 1 });
  await there.note('cd', '01', { version: 1, issuedAtMs: 1 });
  await here.note('ab', '01', { version: 5, issuedAtMs: 3 });
  expect(await there.of('ab')).toEqual(
    new Map([
      ['01', { version: 5, issuedAtMs: 3 }],
      ['02', { version: 2, issuedAtMs: 1 }],
    ]),
  );
  expect(await here.of('cd')).toEqual(new Map([['01', { version: 1, issuedAtMs: 1 }]]));
  expect(statSync(file).mode & 0o777).toBe(0o600);
});

test.each(['', '{}', '{"v":1,"seen":{"ab":{"01":{"version":-1,"issuedAtMs":0}}}}'])(
  '%j forgets nothing',
  async (text) => {
    const file = inFolder();
    await seenRulesIn(file).note('ab', '01', { version: 4, issuedAtMs: 9 });
    writeFileSync(file, text);
    expect(() => seenRulesIn(file).of('ab')).toThrow(expect.objectContaining({ code: 'data_corrupt' }));
  },
);
