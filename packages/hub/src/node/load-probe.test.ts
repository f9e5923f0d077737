/** Claims about what is measured of this process. */
import { expect, onTestFinished, test } from 'vitest';
import { createLoadProbe } from './load-probe.ts';
import { yieldToNode } from '@idlewild/protocol/testing';

const turns = async (ms: number): Promise<void> => {
  const untilMs = performance.now() + ms;
  while (performance.now() < untilMs) await yieldToNode();
};

test('a loop that is blocked is seen to be late, and memory is a part of what is there', async () => {
  const probe = createLoadProbe(() => 7);
  onTestFinished(() => probe.stop());
  await turns(100);
  probe.loopLateMs();
  for (let i = 0; i < 3; i++) {
    const untilMs = performance.now() + 300;
    while (performance.now() < untilMs);
    await turns(1);
  }
  expect(probe.loopLateMs()).toBeGreaterThan(150);
  expect(probe.databaseMs()).toBe(7);
  expect(probe.memory()).toBeGreaterThan(0);
  expect(probe.memory()).toBeLessThan(1);
});
