/** Claims about what a caller hears while an attempt is not written down yet. */
import { IdlewildError } from '@idlewild/protocol';
import { expect, test } from 'vitest';
import { createGate, type Gate } from './gate.ts';
import type { AnswerOutcome } from './port.ts';

function setUp(): { gate: Gate; heard: string[] } {
  const heard: string[] = [];
  const gate = createGate({
    started: () => void heard.push('started'),
    token: (i) => void heard.push(`token ${i}`),
    finished: () => void heard.push('finished'),
    failed: ({ code }) => void heard.push(code),
  });
  return { gate, heard };
}
const say = (gate: Gate, i: number): void => gate.token(i, i, 't', undefined, undefined);

test('what is told while it is shut is told in order once it opens, however the wait ends', async () => {
  for (const how of ['resolve', 'reject'] as const) {
    const { gate, heard } = setUp();
    const until = Promise.withResolvers<void>();
    gate.started(3);
    gate.hold(until.promise);
    say(gate, 0);
    gate.finished({} as AnswerOutcome);
    expect(heard).toEqual(['started']);
    if (how === 'resolve') until.resolve();
    else until.reject(new Error('the disk is full'));
    await until.promise.catch(() => {});
    await Promise.resolve();
    expect(heard).toEqual(['started', 'token 0', 'finished']);
  }
});

test('it opens with the last that holds it', async () => {
  const { gate, heard } = setUp();
  const [one, other] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
  gate.hold(one.promise);
  say(gate, 0);
  gate.hold(other.promise);
  one.resolve();
  await one.promise;
  say(gate, 1);
  expect(heard).toEqual([]);
  other.resolve();
  await other.promise;
  expect(heard).toEqual(['token 0', 'token 1']);
});

test('a failure waits for nothing, and nothing follows it', async () => {
  const { gate, heard } = setUp();
  const until = Promise.withResolvers<void>();
  gate.hold(until.promise);
  say(gate, 0);
  gate.failed(new IdlewildError('run_taken_over', 'gone'));
  until.resolve();
  await until.promise;
  expect(heard).toEqual(['run_taken_over']);
});
