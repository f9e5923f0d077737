import { createFakeClock, createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createAffinity } from './affinity.ts';

const chat = (...contents: string[]) => ({
  kind: 'chat' as const,
  messages: contents.map((content, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content })),
});
const setUp = () => {
  const clock = createFakeClock(async () => undefined);
  return { clock, affinity: createAffinity(clock, createSeededRandom(1)) };
};

test('the device that read a conversation is known at its next turn, with how much it read', () => {
  const { affinity } = setUp();
  const first = affinity.marksOf('m', { prompt: chat('one', 'two', 'three'), scope: 'ann' });
  affinity.remember(first, 'dev_a');
  const next = affinity.marksOf('m', { prompt: chat('one', 'two', 'three', 'four', 'five'), scope: 'ann' });
  expect([...affinity.recall(next)]).toEqual([['dev_a', first.lengths.at(-1)]]);
  affinity.remember(next, 'dev_b');
  const other = affinity.marksOf('m', { prompt: chat('one', 'two', 'three', 'else'), scope: 'ann' });
  expect([...affinity.recall(other).keys()]).toEqual(['dev_b']);
});

test('another caller, another model and other words are not known; nor is who has no scope', () => {
  const { affinity } = setUp();
  const prompt = chat('one', 'two', 'three');
  affinity.remember(affinity.marksOf('m', { prompt, scope: 'ann' }), 'dev_a');
  expect(affinity.recall(affinity.marksOf('m', { prompt, scope: 'bob' })).size).toBe(0);
  expect(affinity.recall(affinity.marksOf('n', { prompt, scope: 'ann' })).size).toBe(0);
  expect(affinity.recall(affinity.marksOf('m', { prompt: chat('oneX', 'two'), scope: 'ann' })).size).toBe(0);
  expect(affinity.marksOf('m', { prompt })).toEqual({ hashes: [], lengths: [] });
});

test('a text that goes on is known by the steps that it has whole', () => {
  const { affinity } = setUp();
  const text = 'x'.repeat(300) + 'y'.repeat(300);
  affinity.remember(affinity.marksOf('m', { prompt: { kind: 'text', text }, scope: 'ann' }), 'dev_a');
  const longer = affinity.marksOf('m', { prompt: { kind: 'text', text: `${text} and more` }, scope: 'ann' });
  expect(affinity.recall(longer).get('dev_a')).toBe(512);
});

test('what is not asked for again is forgotten, and memory is bounded', async () => {
  const { affinity, clock } = setUp();
  const marks = affinity.marksOf('m', { prompt: chat('one'), scope: 'ann' });
  affinity.remember(marks, 'dev_a');
  await clock.advance(600_001);
  expect(affinity.recall(marks).size).toBe(0);
  affinity.remember(marks, 'dev_a');
  for (let i = 0; i < 20_000; i++)
    affinity.remember(affinity.marksOf('m', { prompt: chat(`other ${i}`), scope: 'ann' }), 'dev_b');
  expect(affinity.recall(marks).size).toBe(0);
});
