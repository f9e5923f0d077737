/** Claims about what a lender is told of work: what runs while it runs, and once how each piece of it ended. */
import { expect, test } from 'vitest';
import { createFixture, putModel } from '../../node/testing/fixture.ts';
import type { WorkDone } from '../lending/control/work.ts';
import { exampleAnswer, type AnswerOrder } from '../../testing/example-answer.ts';

async function setUp() {
  const done: WorkDone[] = [];
  const fixture = await createFixture({ onWork: (each) => done.push(each) });
  const model = await putModel(fixture.store, 'weights');
  await fixture.startWith(model);
  const ask = (lease: string, more: Partial<AnswerOrder> = {}): void =>
    fixture.peer().send(exampleAnswer(model, { lease, ...more }));
  return { ...fixture, model, done, ask };
}

test('what runs is told with its purpose, where one was said, and since when', async () => {
  const { agent, clock, model, ask } = await setUp();
  ask('att_1', { dataClass: 'public', cause: 'climate' });
  await clock.advance(50);
  ask('att_2');
  await clock.advance(50);
  const { running } = agent.state();
  const named = { kind: 'answer', model, modelName: 'small' };
  expect(running).toEqual([
    { ...named, dataClass: 'public', cause: 'climate', sinceMs: expect.any(Number) as number },
    { ...named, dataClass: 'internal', sinceMs: (running[0]?.sinceMs ?? 0) + 50 },
  ]);
  await clock.advance(10_000);
  expect(agent.state().running).toEqual([]);
});

test('each piece of work is counted once, whole or with what it came to before it was moved', async () => {
  const { agent, clock, done, ask } = await setUp();
  ask('att_1', { cause: 'climate' });
  await clock.advance(10_000);
  expect(done).toMatchObject([{ whole: true, cause: 'climate', tokens: 50 }]);
  ask('att_2');
  await clock.advance(100);
  agent.pause('lender');
  agent.resume('lender');
  await clock.advance(10_000);
  expect(done).toMatchObject([{ whole: true }, { whole: false, dataClass: 'internal' }]);
  expect(done[1]?.tokens).toBeGreaterThan(0);
  expect(done[1]?.tokens).toBeLessThan(50);
});
