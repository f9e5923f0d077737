import { expect, test } from 'vitest';
import { inTurn, type InLine } from './in-turn.ts';

const item = (key: string, name: string, epoch = 0, phase: InLine['state']['phase'] = 'queued') => ({
  name,
  request: { territory: 't', key },
  state: { phase, epoch },
});
const names = (items: readonly { name: string }[]): string => items.map(({ name }) => name).join(' ');

test('callers take turns, and each keeps its own order', () => {
  const waiting = [
    item('a', 'a1'),
    item('a', 'a2'),
    item('a', 'a3'),
    item('b', 'b1'),
    item('c', 'c1'),
    item('b', 'b2'),
  ];
  expect(names(inTurn(waiting, waiting))).toBe('a1 b1 c1 a2 b2 a3');
});

test('whose answers run already comes after who has none', () => {
  const running = [item('a', 'r1', 1, 'running'), item('a', 'r2', 1, 'running')];
  const waiting = [item('a', 'a1'), item('b', 'b1'), item('b', 'b2'), item('b', 'b3')];
  expect(names(inTurn(waiting, [...running, ...waiting]))).toBe('b1 b2 a1 b3');
});

test('an interrupted answer is first, whoever asked for it', () => {
  const waiting = [item('b', 'b1'), item('a', 'a1'), item('a', 'a2', 1)];
  expect(names(inTurn(waiting, waiting))).toBe('a2 b1 a1');
});

test('all keys of one person have the turns of one', () => {
  const of = (person: string, key: string) => ({
    ...item(key, key),
    request: { territory: 't', key, text: { person } },
  });
  const waiting = [of('ada', 'a1'), of('ada', 'a2'), of('ada', 'a3'), of('bob', 'b1')];
  expect(names(inTurn(waiting, waiting))).toBe('a1 b1 a2 a3');
});

test('one caller alone keeps the order of arrival', () => {
  const waiting = [item('a', 'a1'), item('a', 'a2')];
  expect(names(inTurn(waiting, waiting))).toBe('a1 a2');
});
