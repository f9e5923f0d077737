import { execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { LOG_LIMITS, openRotatedFile } from './rotated-file.ts';

let folder: string;
let path: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'idlewild-log-'));
  path = join(folder, 'a.log');
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

const linesOf = (file: string): string[] => readFileSync(file, 'utf8').trimEnd().split('\n');
const bytesOf = (file: string): number => (existsSync(file) ? statSync(file).size : 0);

test('two files, and none beyond its bound, whatever is written', () => {
  const log = openRotatedFile(path, 1_000);
  for (let index = 0; index < 500; index++) {
    log.write(`line ${index} ${'x'.repeat(index % 90)}`);
    expect(Math.max(bytesOf(path), bytesOf(`${path}.1`))).toBeLessThanOrEqual(1_000);
  }
  expect(linesOf(path).at(-1)).toMatch(/^line 499 /);
  const kept = [...linesOf(`${path}.1`), ...linesOf(path)].map((line) => Number(line.split(' ')[1]));
  expect(kept).toEqual(kept.map((_, index) => 500 - kept.length + index));
  expect(statSync(path).mode & 0o777).toBe(0o600);
});

test('a line that a power cut left torn does not swallow the next', () => {
  writeFileSync(path, '{"whole":1}\n{"torn":');
  openRotatedFile(path).write('{"next":2}');
  expect(linesOf(path)).toEqual(['{"whole":1}', '{"torn":', '{"next":2}']);
});

test('a line of any length is one line of a bounded length', () => {
  openRotatedFile(path).write('é'.repeat(LOG_LIMITS.lineBytesMax));
  expect(bytesOf(path)).toBe(LOG_LIMITS.lineBytesMax);
  expect(linesOf(path)).toHaveLength(1);
});

test('lines that find no place are lost, counted, and end nobody', () => {
  const place = join(folder, 'later');
  const log = openRotatedFile(join(place, 'a.log'));
  log.write('one');
  log.write('two');
  execFileSync('mkdir', [place]);
  log.write('three');
  const [told, three] = linesOf(join(place, 'a.log'));
  expect(JSON.parse(told ?? '')).toMatchObject({ level: 'warn', message: '2 lines of this log were lost' });
  expect(three).toBe('three');
});

const WRITER = `
  import { openRotatedFile } from ${JSON.stringify(fileURLToPath(new URL('rotated-file.ts', import.meta.url)))};
  const log = openRotatedFile(process.argv[1], 4_000);
  for (let n = Number(process.argv[2]); ; n++) log.write(JSON.stringify({ n, text: 'x'.repeat(n % 50) }));
`;

test('killed at any moment, it leaves whole lines, in their order and without a gap', async () => {
  for (let round = 0; round < 4; round++) {
    const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', WRITER, path, String(round * 1e6)], {
      stdio: 'ignore',
    });
    const died = new Promise((resolve) => {
      child.once('exit', resolve);
    });
    await expect.poll(() => existsSync(`${path}.1`), { interval: 5, timeout: 15_000 }).toBe(true);
    await expect.poll(() => bytesOf(path), { interval: 1, timeout: 15_000 }).toBeGreaterThan(round * 50);
    child.kill('SIGKILL');
    await died;
    // It may have died with a new file begun, and nothing in it.
    const files = [`${path}.1`, path].filter((each) => existsSync(each) && bytesOf(each) > 0);
    const numbers = files.flatMap(linesOf).map((line) => (JSON.parse(line) as { n: number }).n);
    expect(numbers).toEqual(numbers.map((_, index) => (numbers[0] ?? 0) + index));
    expect(files.map(bytesOf).every((bytes) => bytes <= 4_000)).toBe(true);
    rmSync(`${path}.1`);
    rmSync(path, { force: true });
  }
});
