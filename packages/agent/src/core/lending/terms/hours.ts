/**
 * Hours of the week in which a lender lends, as a consent has them: seven lists of minutes of the local day, from
 * Monday on. As text they are `mon-fri 20:00-07:00; sat-sun 00:00-24:00`: days, then times; a time that ends before it
 * begins goes on into the next morning. It knows no time zone: whoever asks says what the local time is.
 */
import { IdlewildError, LIMITS, type Consent } from '@idlewild/protocol';

/** Of the place where the device is. */
export interface LocalTime {
  /** 0 is Monday. */
  readonly weekday: number;
  /** Of the day, 0 to 1,439. */
  readonly minute: number;
}

export type Hours = NonNullable<Consent['hours']>;
type Window = Hours[number][number];

const DAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
export const DAY_MINUTES = 1_440;

export const isWithin = (hours: Hours, { weekday, minute }: LocalTime): boolean =>
  hours[weekday]?.some(({ from, until }) => from <= minute && minute < until) ?? false;

/** Throws `usage` for a text that is no hours; what it says is meant to be read by whoever wrote it. */
export function parseHours(text: string): Hours {
  const minutes: Window[][] = DAYS.map(() => []);
  let days: number[] = [];
  let timed = false;
  const add = (from: number, until: number): void => {
    for (const day of days.length > 0 ? days : DAYS.keys()) {
      minutes[day]?.push({ from, until: until > from ? until : DAY_MINUTES });
      if (until < from && until > 0) minutes[(day + 1) % DAYS.length]?.push({ from: 0, until });
    }
    timed = true;
  };
  const words = text
    .toLowerCase()
    .split(/[\s,;]+/)
    .filter((word) => word !== '');
  if (words.length === 0) throw wrong(text, 'it says no time');
  for (const word of words) {
    const named = daysOf(word);
    if (named === undefined) {
      const [from, until] = timesOf(word, text);
      add(from, until);
      continue;
    }
    // Days after a time begin anew; days after days are more of them.
    days = timed ? named : [...days, ...named];
    timed = false;
  }
  if (!timed) add(0, DAY_MINUTES);
  const hours = minutes.map(united);
  if (hours.some(({ length }) => length > LIMITS.hoursPerDayMax)) {
    throw wrong(text, `a day has more than ${LIMITS.hoursPerDayMax} times`);
  }
  return hours;
}

/** The text that `parseHours` reads, as short as people write it. */
export function hoursText(hours: Hours): string {
  const parts: { days: number[]; times: string }[] = [];
  for (const day of DAYS.keys()) {
    const times = timesText(hours, day);
    if (times === '') continue;
    const last = parts.at(-1);
    if (last?.times === times && last.days.at(-1) === day - 1) last.days.push(day);
    else parts.push({ days: [day], times });
  }
  const daysText = ([first = 0, ...more]: readonly number[]): string =>
    [DAYS[first], ...(more.length === 0 ? [] : [DAYS[more.at(-1) ?? 0]])].join('-');
  return parts.map(({ days, times }) => `${daysText(days)} ${times}`).join('; ') || 'never';
}

/** Times that begin on this day; what only goes on from the evening before is that evening's. */
function timesText(hours: Hours, day: number): string {
  const today = hours[day] ?? [];
  const [early, late] = [nightAfter(hours, day - 1)?.morning, nightAfter(hours, day)];
  return today
    .filter((window) => window !== early)
    .map((window) => `${clockText(window.from)}-${clockText((window === late?.evening ? late.morning : window).until)}`)
    .join(' ');
}

/** The time that ends a day and the one that begins the next, where they are written as one. */
function nightAfter(hours: Hours, day: number): { evening: Window; morning: Window } | undefined {
  const [today, next] = [day, day + 1].map((at) => hours[(at + DAYS.length) % DAYS.length]);
  const evening = today?.find(({ from, until }) => until === DAY_MINUTES && from > 0);
  const morning = next?.find(({ from, until }) => from === 0 && until < DAY_MINUTES);
  if (evening === undefined || morning === undefined || morning.until >= evening.from) return undefined;
  return { evening, morning };
}

const clockText = (minute: number): string =>
  [Math.floor(minute / 60), minute % 60].map((part) => String(part).padStart(2, '0')).join(':');

/** In order, and what touches or overlaps as one. */
function united(windows: readonly Window[]): Window[] {
  const all: Window[] = [];
  for (const { from, until } of windows.toSorted((left, right) => left.from - right.from)) {
    const last = all.at(-1);
    if (last !== undefined && from <= last.until) all[all.length - 1] = { ...last, until: Math.max(last.until, until) };
    else all.push({ from, until });
  }
  return all;
}

/** `mon-fri`, `sat`, `fri-mon`, `daily`; `undefined` for what names no day. */
function daysOf(word: string): number[] | undefined {
  if (word === 'daily') return [...DAYS.keys()];
  const [first, last, ...more] = word.split('-').map((day) => DAYS.findIndex((name) => name === day));
  if (first === undefined || first < 0 || last === -1 || more.length > 0) return undefined;
  const count = last === undefined ? 1 : ((last - first + DAYS.length) % DAYS.length) + 1;
  return Array.from({ length: count }, (_, at) => (first + at) % DAYS.length);
}

function timesOf(word: string, text: string): [from: number, until: number] {
  const [, ...digits] = /^(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)$/.exec(word) ?? [];
  const [fromHour = Number.NaN, fromMinute = 0, untilHour = 0, untilMinute = 0] = digits.map(Number);
  const [from, until] = [fromHour * 60 + fromMinute, untilHour * 60 + untilMinute];
  const isClock = from < DAY_MINUTES && until <= DAY_MINUTES && fromMinute < 60 && untilMinute < 60;
  if (!isClock) throw wrong(text, `"${word}" is neither days nor times`);
  if (from === until) throw wrong(text, `"${word}" ends where it begins; a whole day is 00:00-24:00`);
  return [from, until];
}

const wrong = (text: string, why: string): IdlewildError =>
  new IdlewildError('usage', `"${text}" is no hours of a week: ${why}; write them as in mon-fri 20:00-07:00; sat-sun`);
