import { PassThrough } from 'node:stream';
import type { AgentState } from '@idlewild/agent';
import { Command } from 'commander';
import { expect, onTestFinished, test } from 'vitest';
import { contextOf } from '../context.ts';
import { parseDuration, parseDurationSeconds } from './duration.ts';
import { createLiveLine } from './live-line.ts';
import { progressLine } from './progress.ts';
import { factLines, tableLines } from './table.ts';
import {
  bytesText,
  momentText,
  parametersText,
  plainLine,
  plainText,
  rateText,
  wattHoursText,
  whenText,
  wrap,
} from './units.ts';

test.each([
  ['90m', 5_400_000],
  ['24h', 86_400_000],
  ['30d', 2_592_000_000],
  ['2w', 1_209_600_000],
  ['1h30m', 5_400_000],
  ['1.5 h', 5_400_000],
  ['45min', 2_700_000],
])('%s is %i ms', (text, ms) => {
  expect(parseDuration(text)).toBe(ms);
  expect(parseDurationSeconds(text)).toBe(ms / 1_000);
});

test.each(['', '24', 'h', '24 hours', '-3h', '1h later', '3y', '0s', '99999w'])('"%s" is no duration', (text) => {
  expect(() => parseDuration(text)).toThrow(/like 90m, 24h or 30d|at least|at most/);
});

test.each([
  [0, '0 B'],
  [999, '999 B'],
  [1_000, '1.0 kB'],
  [12_675_748, '12.7 MB'],
  [536_000_000, '536 MB'],
  [999_960, '1.0 MB'],
])('%i bytes read %s', (bytes, text) => {
  expect(bytesText(bytes)).toBe(text);
});

test('instants are told by their distance', () => {
  const nowMs = Date.parse('2026-11-22T12:00:00Z');
  const at = (seconds: number): string => new Date(nowMs + seconds * 1_000).toISOString();
  const told = [0, -12, -200, -7_200, -300_000, 86_400].map((seconds) => whenText(at(seconds), nowMs));
  expect(told).toEqual(['now', '12 s ago', '3 min ago', '2 h ago', '3 days ago', 'in 24 h']);
  expect(whenText(null, nowMs)).toBe('–');
});

test('moments are told by the clock of this machine, and a little energy is not told as none', () => {
  expect(momentText(new Date(2026, 0, 3, 7, 5).getTime())).toBe('2026-01-03 07:05');
  expect([0, 0.000_1, 0.01, 9.999, 123.4].map(wattHoursText)).toEqual(['0.00', '<0.01', '0.01', '10.00', '123']);
});

test('rates are short', () => {
  expect([rateText(null), rateText(3.14159), rateText(934.14)]).toEqual(['–', '3.1', '934']);
});

test('columns are aligned and lines end where their text does', () => {
  const lines = tableLines(
    [{ title: 'NAME' }, { title: 'SIZE', align: 'right' }, { title: 'ID' }],
    [
      ['ada', '1', 'x'],
      ['babbage', '1200', ''],
    ],
  );
  expect(lines).toEqual(['NAME     SIZE  ID', 'ada         1  x', 'babbage  1200']);
  expect(
    factLines([
      ['a', '1'],
      ['long', '2'],
    ]),
  ).toEqual(['a     1', 'long  2']);
});

test('a long fact goes on below in its column where the screen ends, and stays a line elsewhere', () => {
  const facts = [
    ['now', 'one two three four five six'],
    ['later', 'seven'],
  ] as const;
  expect(factLines(facts)[0]).toBe('now    one two three four five six');
  expect(factLines(facts, 29)).toEqual(['now    one two three four', '       five six', 'later  seven']);
});

test('a name from elsewhere cannot steer the terminal', () => {
  expect(plainText('a\u001b[2Jb\u009bc\r\n\td')).toBe('a[2Jbc\n\td');
  expect(tableLines([{ title: 'N' }], [['x\u001b[31m\ny']])).toEqual(['N', 'x[31m y']);
  expect(tableLines([{ title: 'N' }], [['A\u200bd\u00ada\u2028\u{e0041}!']])).toEqual(['N', 'Ada !']);
  expect(plainLine('\u001b[1mIdlewild\u001b[22m \u001b]0;x\u0007\u001b[31m')).toBe(
    '\u001b[1mIdlewild\u001b[22m ]0;x[31m',
  );
});

test('a value of many lines cannot pass for other facts', () => {
  const lines = factLines([
    ['trouble', 'none\nwalls  all hold\n'],
    ['walls', 'none'],
  ]);
  expect(lines).toEqual(['trouble  none', '         walls  all hold', 'walls    none']);
});

test('whatever a command prints or says, no text from elsewhere in it steers the terminal', () => {
  const written: string[] = [];
  const { write } = process.stdout;
  onTestFinished(() => void Object.assign(process.stdout, { write }));
  Object.assign(process.stdout, { write: (text: string) => written.push(text) });
  const context = contextOf(new Command());
  context.print('left; nobody acknowledged it: \u001b[2J\u009b31m');
  context.show({}, () => ['a\rb']);
  expect(written).toEqual(['left; nobody acknowledged it: [2J31m\n', 'ab\n']);
});

test('a progress line says how far, how much, how fast, and how long it will take', () => {
  const figures = { doneBytes: 50_000_000, totalBytes: 200_000_000, hadBytes: 0, seconds: 2 };
  const line = 'sending ██████░░░░░░░░░░░░░░░░░░ 25 %  50.0 MB of 200 MB';
  expect(progressLine('sending', figures)).toBe(`${line}  25.0 MB/s  6 s left`);
  // What was there before the start is no speed.
  expect(progressLine('sending', { ...figures, hadBytes: 40_000_000 })).toBe(`${line}  5.0 MB/s  30 s left`);
  expect(progressLine('sending', { ...figures, hadBytes: 50_000_000 })).toBe(line);
});

test('long texts are broken between words', () => {
  expect(wrap('one two three', 7)).toEqual(['one two', 'three']);
  expect(wrap('extraordinary x', 7)).toEqual(['extraordinary', 'x']);
  expect(wrap(' ', 7)).toEqual([]);
});

test('sizes of models read as people say them', () => {
  expect([412, 3_148_246, 134_000_000, 7_600_000_000].map(parametersText)).toEqual([
    '412',
    '3.1 million',
    '134 million',
    '7.6 billion',
  ]);
});

test('without a terminal a device tells each stage of a model in a line, and not each per cent of it', () => {
  const lines = new PassThrough();
  const live = createLiveLine(lines as unknown as NodeJS.WriteStream, true);
  const tell = (model: object, tokensPerSecond = 0): void =>
    live.state({
      name: 'ada',
      state: 'ready',
      pauseReasons: [],
      answering: 0,
      tokensPerSecond,
      models: [model],
    } as unknown as AgentState);
  tell({ cid: 'a', state: 'fetching', fraction: 0 });
  tell({ cid: 'a', state: 'fetching', fraction: 0.6 });
  tell({ cid: 'a', state: 'held', fraction: 1, reason: 'it needs 8 bytes of memory' });
  tell({ cid: 'a', state: 'loading', fraction: 1 });
  tell({ cid: 'a', state: 'warm', fraction: 1 }, 900);
  tell({ cid: 'a', state: 'warm', fraction: 1 }, 910);
  expect(String(lines.read()).trimEnd().split('\n')).toEqual([
    'ada  ready · fetching a model, 0 %',
    'ada  ready · a model waits: it needs 8 bytes of memory',
    'ada  ready · loading a model',
    'ada  ready · 900 tokens/s',
  ]);
});
