/** Claims about the history on the disk: what a power cut costs, and that it never grows beyond its bounds. */
import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  closeSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readFileSync,
  readdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { createFakeClock, type FakeClock } from '@idlewild/protocol/testing';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, onTestFinished, test } from 'vitest';
import { HISTORY_LIMITS } from '../core/lending/control/limits.ts';
import type { WorkDone } from '../core/lending/control/work.ts';
import { openHistory, readHistory, type History } from './history.ts';
import { localDay } from './local-time.ts';
import { newFolder } from './testing/real-hub.ts';

const MINUTE_MS = 60_000;
const work: WorkDone = { kind: 'answer', model: 'cid', dataClass: 'internal', whole: true, tokens: 10, ms: 500 };

async function open(folder: string, clock: FakeClock): Promise<History> {
  const history = await openHistory({ folder, clock, territory: () => 'ter_a', log: () => undefined });
  onTestFinished(() => history.close());
  return history;
}
const newClock = (): FakeClock => createFakeClock(() => nextTurn());
const pathOf = (folder: string, clock: FakeClock): string => join(folder, 'history', `${localDay(clock.now())}.jsonl`);
const answersOf = async (folder: string, clock: FakeClock, days = 1): Promise<number> =>
  (await readHistory(folder, days, clock.now()))
    .flatMap((day) => day.work)
    .reduce((sum, each) => sum + each.answers, 0);

test('a process that is killed loses at most the last minute: what is older is on the disk already', async () => {
  const folder = await newFolder();
  const clock = newClock();
  const history = await open(folder, clock);
  history.done(work);
  expect(await answersOf(folder, clock)).toBe(0);
  await clock.advance(MINUTE_MS);
  await history.flush();
  expect(await answersOf(folder, clock)).toBe(1);
  history.done(work);
  // Nothing closes it: another process opens what is there.
  const after = await open(folder, clock);
  after.done(work);
  await after.close();
  expect(await answersOf(folder, clock)).toBe(2);
  expect(after.today().work[0]?.answers).toBe(2);
});

test('a line that was cut off, or is none, is skipped, and what follows it is whole', async () => {
  const folder = await newFolder();
  const clock = newClock();
  const first = await open(folder, clock);
  first.done(work);
  await first.close();
  appendFileSync(pathOf(folder, clock), '{"day":"2026-1');
  const second = await open(folder, clock);
  second.done(work);
  await second.close();
  appendFileSync(pathOf(folder, clock), '[]\n{"day":"2026-11-23","territory":"ter_a","answers":-1}\n');
  expect(await answersOf(folder, clock)).toBe(2);
  expect(readFileSync(pathOf(folder, clock), 'utf8').split('\n')).toContain('{"day":"2026-1');
});

test('while nothing is done, nothing is written', async () => {
  const folder = await newFolder();
  const clock = newClock();
  await open(folder, clock);
  await clock.advance(60 * MINUTE_MS);
  expect(readdirSync(join(folder, 'history'))).toEqual([]);
});

test('however often somebody looks, a minute is one line', async () => {
  const folder = await newFolder();
  const clock = newClock();
  const history = await open(folder, clock);
  history.state({ state: 'ready', pauses: [], answering: 0 });
  for (let look = 1; look < 60; look++) {
    await clock.advance(1_000);
    expect(history.today().work[0]?.lentMs).toBe(look * 1_000);
  }
  await history.flush();
  expect(readFileSync(pathOf(folder, clock), 'utf8').trim().split('\n')).toHaveLength(1);
  expect((await readHistory(folder, 1, clock.now()))[0]?.work[0]?.lentMs).toBe(59_000);
});

test('so many days are days of the calendar, also where clocks were changed in between', async () => {
  const zone = process.env.TZ;
  onTestFinished(() => {
    if (zone === undefined) delete process.env.TZ;
    else process.env.TZ = zone;
  });
  process.env.TZ = 'Europe/Berlin';
  const folder = await newFolder();
  const place = join(folder, 'history');
  mkdirSync(place);
  for (const day of [
    '2026-03-27',
    '2026-03-28',
    '2026-03-29',
    '2026-03-30',
    '2026-10-24',
    '2026-10-25',
    '2026-10-26',
  ]) {
    const line = { day, territory: 'ter_a', answers: 1, embeddings: 0, tokens: 1, workedMs: 0, lentMs: 0 };
    writeFileSync(join(place, `${day}.jsonl`), `${JSON.stringify(line)}\n`);
  }
  const daysAt = async (text: string, days: number): Promise<string[]> =>
    (await readHistory(folder, days, Date.parse(text))).map(({ day }) => day).filter((day) => day <= text.slice(0, 10));
  expect(await daysAt('2026-03-30T00:30:00+02:00', 2)).toEqual(['2026-03-30', '2026-03-29']);
  expect(await daysAt('2026-10-26T23:30:00+01:00', 3)).toEqual(['2026-10-26', '2026-10-25', '2026-10-24']);
});

test('a day of a line a minute stays small, and is summed up when it is over', async () => {
  const folder = await newFolder();
  const clock = newClock();
  const history = await open(folder, clock);
  const path = pathOf(folder, clock);
  history.state({ state: 'ready', pauses: [], answering: 1 });
  let largest = 0;
  for (let minute = 0; minute < 300; minute++) {
    history.done({ ...work, cause: `cause-${minute % 20}` });
    history.done(work);
    await clock.advance(MINUTE_MS);
    await history.flush();
    largest = Math.max(largest, statSync(path).size);
  }
  expect(largest).toBeLessThan(HISTORY_LIMITS.fileBytesMax + 4_096);
  await clock.advance(24 * 60 * MINUTE_MS);
  await history.flush();
  expect(statSync(path).size).toBeLessThan(HISTORY_LIMITS.compactedBytes);
  expect(await answersOf(folder, clock, 3)).toBe(600);
  const days = await readHistory(folder, 3, clock.now());
  expect(days.map(({ day }) => day)).toEqual(
    days
      .map(({ day }) => day)
      .toSorted()
      .toReversed(),
  );
  const lentMs = days.flatMap((day) => day.work).reduce((sum, each) => sum + each.lentMs, 0);
  expect(lentMs).toBe((300 + 24 * 60) * MINUTE_MS);
});

test('days and bytes are bounded: the oldest go first, today stays', async () => {
  const folder = await newFolder();
  const clock = newClock();
  const place = join(folder, 'history');
  mkdirSync(place);
  const today = localDay(clock.now());
  const days = Array.from({ length: HISTORY_LIMITS.daysMax + 50 }, (_, n) => localDay(clock.now() - n * 86_400_000));
  for (const day of days) {
    const line = { day, territory: 'ter_a', answers: 1, embeddings: 0, tokens: 1, workedMs: 0, lentMs: 0 };
    writeFileSync(join(place, `${day}.jsonl`), `${JSON.stringify(line)}\n`);
  }
  writeFileSync(join(place, 'notes.txt'), 'not ours');
  const history = await open(folder, clock);
  await history.close();
  const left = readdirSync(place).filter((name) => name.endsWith('.jsonl'));
  expect(left.length).toBeLessThanOrEqual(HISTORY_LIMITS.daysMax);
  expect(left).toContain(`${today}.jsonl`);
  expect(readdirSync(place)).toContain('notes.txt');
});

test.skipIf(process.platform === 'win32')(
  'what somebody put in the place of a day keeps no device from working',
  async () => {
    const folder = await newFolder();
    const clock = newClock();
    const place = join(folder, 'history');
    mkdirSync(place);
    const past = (day: string): string => join(place, `${day}.jsonl`);
    const huge = openSync(past('2025-01-01'), 'w');
    ftruncateSync(huge, 8_000_000_000);
    closeSync(huge);
    symlinkSync(join(folder, 'nowhere'), past('2025-01-02'));
    execFileSync('mkfifo', [past('2025-01-03'), pathOf(folder, clock)]);
    const history = await open(folder, clock);
    history.done(work);
    await history.close();
    expect(await answersOf(folder, clock)).toBe(1);
    expect(statSync(past('2025-01-01')).size).toBe(0);
  },
);
