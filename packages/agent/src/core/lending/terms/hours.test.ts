import { expect, test } from 'vitest';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { hoursText, isWithin, parseHours, type Hours, type LocalTime } from './hours.ts';

const at = (weekday: number, hour: number, minute = 0): LocalTime => ({ weekday, minute: hour * 60 + minute });
const [MONDAY, TUESDAY, FRIDAY, SATURDAY, SUNDAY] = [0, 1, 4, 5, 6];

test('a night goes on into the next morning, also from Sunday into Monday', () => {
  const hours = parseHours('fri,sun 20:00-07:00');
  expect(isWithin(hours, at(FRIDAY, 19, 59))).toBe(false);
  expect(isWithin(hours, at(FRIDAY, 20))).toBe(true);
  expect(isWithin(hours, at(SATURDAY, 6, 59))).toBe(true);
  expect(isWithin(hours, at(SATURDAY, 7))).toBe(false);
  expect(isWithin(hours, at(SATURDAY, 20))).toBe(false);
  expect(isWithin(hours, at(SUNDAY, 23, 59))).toBe(true);
  expect(isWithin(hours, at(MONDAY, 0))).toBe(true);
  expect(isWithin(hours, at(MONDAY, 7))).toBe(false);
});

test.each([
  ['mon-fri 20:00-07:00; sat-sun', 'mon-thu 20:00-07:00; fri 20:00-24:00; sat-sun 00:00-24:00'],
  ['sat-sun 00:00-24:00', 'sat-sun 00:00-24:00'],
  ['22:00-07:00', 'mon-sun 22:00-07:00'],
  ['daily 09:00-12:00 13:00-17:30', 'mon-sun 09:00-12:00 13:00-17:30'],
  ['Mon 8:00-10:00, 9:00-12:00', 'mon 08:00-12:00'],
  ['fri-mon 10:00-11:00', 'mon 10:00-11:00; fri-sun 10:00-11:00'],
  ['tue 20:00-00:00', 'tue 20:00-24:00'],
  ['mon; wed', 'mon 00:00-24:00; wed 00:00-24:00'],
])('"%s" is read as "%s"', (text, said) => {
  expect(hoursText(parseHours(text))).toBe(said);
});

test('a list of days before a time means all of them, so that no day becomes whole by a comma', () => {
  const hours = parseHours('sat, sun 10:00-12:00');
  expect(isWithin(hours, at(SATURDAY, 9))).toBe(false);
  expect(isWithin(hours, at(SATURDAY, 10))).toBe(true);
  expect(isWithin(hours, at(TUESDAY, 10))).toBe(false);
});

test.each(['', ';', 'always', 'monday', 'mon-', 'mon-fri-sun', '24:00-25:00', '10:60-11:00', '10-12', '20:00-20:00'])(
  '"%s" is no hours, and the way to write them is said',
  (text) => {
    expect(() => parseHours(text)).toThrow(expect.objectContaining({ code: 'usage' }) as Error);
    expect(() => parseHours(text)).toThrow('mon-fri 20:00-07:00');
  },
);

test('a week without hours is never', () => {
  expect(hoursText([[], [], [], [], [], [], []])).toBe('never');
});

/** Three windows a day at most, also ones that touch or overlap; the ends of days are as likely as anything else. */
function anyWeek(seed: number): Hours {
  const random = createSeededRandom(seed);
  const minute = (): number => Math.min(1_440, Math.max(0, Math.floor(random.unit() * 1_800) - 180));
  const anyWindow = (): Hours[number] => {
    const [one, other] = [minute(), minute()];
    return one === other ? [] : [{ from: Math.min(one, other), until: Math.max(one, other) }];
  };
  return Array.from({ length: 7 }, () => Array.from({ length: Math.floor(random.unit() * 4) }, anyWindow).flat());
}

test('what is written and read again allows the same minutes, for any week', () => {
  for (let seed = 1; seed <= 300; seed++) {
    const hours = anyWeek(seed);
    if (hours.every((day) => day.length === 0)) continue;
    const again = parseHours(hoursText(hours));
    const edges = new Set(hours.flat().flatMap(({ from, until }) => [from - 1, from, until - 1, until % 1_440]));
    for (const weekday of hours.keys()) {
      for (const minute of [0, 1_439, ...edges].filter((one) => one >= 0)) {
        const moment = { weekday, minute };
        expect(isWithin(again, moment), `seed ${seed}, ${hoursText(hours)}, ${JSON.stringify(moment)}`).toBe(
          isWithin(hours, moment),
        );
      }
    }
  }
});
