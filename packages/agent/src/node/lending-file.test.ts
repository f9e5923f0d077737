import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, onTestFinished, test } from 'vitest';
import { readLending, writeLending } from './lending-file.ts';

async function newFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'idlewild-lending-'));
  onTestFinished(() => rm(folder, { recursive: true }));
  return folder;
}

test("a lender's settings are kept, to be read by people and by their owner alone", async () => {
  const folder = await newFolder();
  expect(await readLending(folder)).toBeUndefined();
  const settings = { v: 1, preset: 'gentle', rules: { inputIdleMs: null, programs: ['quake'] }, place: 'DE' } as const;
  await writeLending(folder, { ...settings, rules: { ...settings.rules, programs: ['quake'] } });
  expect(await readLending(folder)).toEqual(settings);
  expect(await readFile(join(folder, 'lending.json'), 'utf8')).toContain('\n  "preset": "gentle",\n');
  if (process.platform !== 'win32') expect((await stat(join(folder, 'lending.json'))).mode & 0o777).toBe(0o600);
});

test.each([
  ['{"v":1,', /lending\.json is damaged/],
  ['{"v":2,"preset":"gentle","rules":{}}', /v: /],
  ['{"v":1,"preset":"brave","rules":{}}', /preset: /],
  ['{"v":1,"preset":"gentle","rules":{"inputIdle":5}}', /inputIdle/],
  ['{"v":1,"preset":"gentle","rules":{"otherCpuMax":60}}', /rules\.otherCpuMax: /],
  ['{"v":1,"preset":"gentle","rules":{},"place":"Germany"}', /place: must be a country/],
])('%s is refused by the name of what is wrong in it', async (text, words) => {
  const folder = await newFolder();
  await writeFile(join(folder, 'lending.json'), text);
  await expect(readLending(folder)).rejects.toMatchObject({
    code: 'data_corrupt',
    message: expect.stringMatching(words) as string,
  });
});

test.skipIf(process.platform === 'win32')('what is no file is refused, and not waited for', async () => {
  const folder = await newFolder();
  execFileSync('mkfifo', [join(folder, 'lending.json')]);
  await expect(readLending(folder)).rejects.toMatchObject({ code: 'data_corrupt', message: /it is no file/ });
});
