import { createFakeClock, yieldToNode } from '@idlewild/protocol/testing';
import { describe, expect, test } from 'vitest';
import { createScriptedSignals } from './scripted-signals.ts';
import { signalSourceConformance } from './signals-conformance.ts';

describe('a scripted machine', () => {
  const clock = createFakeClock(yieldToNode);
  let scripted = createScriptedSignals();
  const claims = signalSourceConformance({
    open() {
      scripted = createScriptedSignals({ inputIdleMs: 60_000, otherCpu: 0.1 });
      return Promise.resolve(scripted);
    },
    pass: (ms) => clock.advance(ms),
    touch: () => scripted.touch(),
  });
  test.for(claims)('$claim', ({ check }) => expect(check()).resolves.toBeUndefined());
});
