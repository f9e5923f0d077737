import { createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createStopFilter } from './stops.ts';

/** Runs `text` through a filter in parts that end at `cuts`; until a stop string ends it. */
function filtered(text: string, stops: readonly string[], cut: () => number): { text: string; stopped: boolean } {
  const filter = createStopFilter(stops);
  let out = '';
  for (let at = 0; at < text.length;) {
    const end = Math.min(text.length, at + cut());
    const part = filter.push(text.slice(at, end));
    out += part.text;
    if (part.stopped) return { text: out, stopped: true };
    at = end;
  }
  return { text: out + filter.finish(), stopped: false };
}

test('text ends exactly before the first stop string that is complete, however the text is cut', () => {
  const random = createSeededRandom(3);
  const letters = (length: number): string =>
    Array.from({ length }, () => 'ab\n'[Math.floor(random.unit() * 3)]).join('');
  for (let round = 0; round < 5_000; round++) {
    const text = letters(1 + random.unit() * 30);
    const stops = Array.from({ length: Math.floor(random.unit() * 4) }, () => letters(1 + random.unit() * 4));
    const byLetter = filtered(text, stops, () => 1);
    // One letter at a time the stop string that ends first wins; of those that end together, the one that begins first.
    let ends = Infinity;
    for (const stop of stops) if (text.includes(stop)) ends = Math.min(ends, text.indexOf(stop) + stop.length);
    const begins = Math.min(
      ...stops.filter((stop) => text.slice(0, ends).endsWith(stop)).map((stop) => ends - stop.length),
    );
    expect(byLetter).toEqual(
      ends === Infinity ? { text, stopped: false } : { text: text.slice(0, begins), stopped: true },
    );
    const inParts = filtered(text, stops, () => 1 + Math.floor(random.unit() * 5));
    expect(inParts.stopped).toBe(byLetter.stopped);
    for (const stop of stops) expect(inParts.text).not.toContain(stop);
  }
});

test('only text that may begin a stop string is held back', () => {
  const filter = createStopFilter(['\n\nUser:']);
  expect(filter.push('Well.\n')).toEqual({ text: 'Well.', stopped: false });
  expect(filter.push('\nUs')).toEqual({ text: '', stopped: false });
  expect(filter.push('ual')).toEqual({ text: '\n\nUsual', stopped: false });
  expect(filter.push('\n\nUser')).toEqual({ text: '', stopped: false });
  expect(filter.push(': more')).toEqual({ text: '', stopped: true });
  expect(filter.finish()).toBe('');
});

test('what is held back at the end is given out', () => {
  const filter = createStopFilter(['END']);
  expect(filter.push('the EN').text).toBe('the ');
  expect(filter.finish()).toBe('EN');
  expect(filter.finish()).toBe('');
});
