/** Claims about sums of what a device did: nothing counts twice, nothing is lost between two lines. */
import { createFakeClock, createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { HISTORY_LIMITS } from './limits.ts';
import { createTally, daysOf, sumLines, type HistoryLine } from './history.ts';
import type { WorkDone } from './work.ts';

const DAY_MS = 86_400_000;
const work: WorkDone = { kind: 'answer', model: 'cid', dataClass: 'internal', whole: true, tokens: 10, ms: 500 };
const ready = { state: 'ready', pauses: [], answering: 0 };

function setUp() {
  const clock = createFakeClock(() => Promise.resolve());
  const firstMs = clock.now();
  const dayOf = (nowMs: number): string => `2026-11-${String(10 + Math.floor((nowMs - firstMs) / DAY_MS))}`;
  return { clock, tally: createTally({ clock, territory: () => 'ter_a', dayOf }) };
}

test('time counts as lent while the device is ready or busy, and as worked while something runs', async () => {
  const { clock, tally } = setUp();
  tally.state(ready);
  await clock.advance(1_000);
  tally.state({ ...ready, state: 'busy', answering: 2 });
  await clock.advance(500);
  tally.done({ ...work, cause: 'climate' });
  tally.state({ ...ready, state: 'offline' });
  await clock.advance(9_000);
  expect(daysOf(tally.take())).toEqual([
    {
      day: '2026-11-10',
      work: [
        { territory: 'ter_a', cause: 'climate', answers: 1, embeddings: 0, tokens: 10, workedMs: 0, lentMs: 0 },
        { territory: 'ter_a', answers: 0, embeddings: 0, tokens: 0, workedMs: 500, lentMs: 1_500 },
      ],
      pauses: [],
    },
  ]);
});

test('a pause counts once however often its text changes, with the newest text, and each for itself', async () => {
  const { clock, tally } = setUp();
  const pause = (name: string, text: string) => ({ name, text, sinceMs: 0 });
  tally.state({ ...ready, state: 'paused', pauses: [pause('load', '60 %')] });
  await clock.advance(1_000);
  tally.state({ ...ready, state: 'paused', pauses: [pause('load', '80 %'), pause('input', 'a person')] });
  await clock.advance(2_000);
  tally.state(ready);
  await clock.advance(1_000);
  tally.state({ ...ready, state: 'paused', pauses: [pause('load', '70 %')] });
  expect(daysOf(tally.take())[0]?.pauses).toEqual([
    { pause: 'load', text: '70 %', times: 2, ms: 3_000 },
    { pause: 'input', text: 'a person', times: 1, ms: 2_000 },
  ]);
});

test('what was moved or failed gave tokens and no answer; watt-hours are there once something told', () => {
  const { tally } = setUp();
  tally.done({ ...work, whole: false, tokens: 3 });
  expect(tally.take()).toMatchObject([{ answers: 0, tokens: 3 }]);
  tally.done({ ...work, wattHours: 0.25 });
  tally.done({ ...work, kind: 'embed', tokens: 7, wattHours: 0.5 });
  expect(tally.take()).toMatchObject([{ answers: 1, embeddings: 1, tokens: 17, wattHours: 0.75 }]);
  expect(tally.take()).toEqual([]);
});

test('midnight begins another day', async () => {
  const { clock, tally } = setUp();
  tally.done(work);
  await clock.advance(DAY_MS);
  tally.state(ready);
  tally.done(work);
  expect(daysOf(tally.take()).map(({ day, work: [first] }) => [day, first?.answers])).toEqual([
    ['2026-11-11', 1],
    ['2026-11-10', 1],
  ]);
});

test('callers cannot make it grow: causes past the bound count without one', () => {
  const { tally } = setUp();
  for (let n = 0; n < 500; n++) tally.done({ ...work, cause: `cause-${n}` });
  const lines = tally.take();
  expect(lines.length).toBeLessThanOrEqual(HISTORY_LIMITS.keysMax + 1);
  expect(lines.reduce((sum, line) => sum + ('answers' in line ? line.answers : 0), 0)).toBe(500);
});

test('sums of parts, in any order and summed up in between, are the sum of all, for any seed', () => {
  for (let seed = 1; seed <= 50; seed++) {
    const random = createSeededRandom(seed);
    const below = (n: number): number => Math.floor(random.unit() * n);
    const all: HistoryLine[] = Array.from({ length: 60 }, (_, n) => {
      const day = `2026-11-0${1 + below(3)}`;
      if (n % 3 === 0)
        return { day, pause: ['load', 'input'][below(2)] ?? '', text: 'x', times: below(3), ms: below(999) };
      const sums = { answers: below(9), embeddings: 0, tokens: below(99), workedMs: below(9), lentMs: below(9) };
      return { day, territory: 'ter_a', ...(below(2) === 0 ? {} : { cause: 'climate' }), ...sums };
    });
    const shuffled = all.toSorted(() => random.unit() - 0.5);
    const cut = below(60);
    const parts = [...sumLines(shuffled.slice(0, cut)), ...sumLines(shuffled.slice(cut))];
    const sort = (lines: readonly HistoryLine[]): string[] => lines.map((line) => JSON.stringify(line)).sort();
    expect(sort(sumLines(parts)), `seed ${seed}`).toEqual(sort(sumLines(all)));
  }
});

test('what the machine drew counts by day, of the whole device, with how much of it was measured', async () => {
  const { clock, tally } = setUp();
  tally.drawn({ wattHours: 2, how: 'modelled' });
  tally.drawn({ wattHours: 3, how: 'measured' });
  const first = tally.take();
  tally.drawn({ wattHours: 1, how: 'measured' });
  tally.state(ready);
  await clock.advance(DAY_MS);
  tally.drawn({ wattHours: 7, how: 'modelled' });
  const days = daysOf([...first, ...tally.take()]);
  expect(days.map(({ day, energy }) => [day, energy])).toEqual([
    ['2026-11-11', { drawnWattHours: 7, measuredWattHours: 0 }],
    ['2026-11-10', { drawnWattHours: 6, measuredWattHours: 4 }],
  ]);
  expect(days.flatMap(({ work: all }) => all)).toHaveLength(1);
});
