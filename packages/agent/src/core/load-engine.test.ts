import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import type { Engine, EngineHost } from '@idlewild/engine';
import { codeOf } from '@idlewild/protocol';
import { createFakeClock } from '@idlewild/protocol/testing';
import { createSimulatedEngineHost } from '../testing/simulated-engine.ts';
import { AGENT_LIMITS } from './limits.ts';
import { loadEngine } from './load-engine.ts';

const MODEL = { cid: 'a-model', folder: 'nowhere', graph: 'model.onnx', contextTokens: 64, fileBytes: {} };
const LIMITS = { threads: 1, slotsMax: 1 };

test('an engine that arrives after its load was given up is closed', async () => {
  const clock = createFakeClock(() => nextTurn());
  const simulated = createSimulatedEngineHost({ clock, tokensPerSecond: 10 });
  const late = Promise.withResolvers<Engine>();
  const deaf: EngineHost = { load: () => late.promise };
  const loading = loadEngine({ clock, engineHost: deaf }, MODEL, LIMITS, new AbortController().signal);
  const refused = loading.catch(codeOf);
  await clock.advance(AGENT_LIMITS.loadMsMax);
  expect(await refused).toBe('engine_failed');
  const made = simulated.load(MODEL, LIMITS, new AbortController().signal);
  await clock.advance(0);
  late.resolve(await made);
  expect(simulated.engines.size).toBe(1);
  await clock.settle();
  expect(simulated.engines.size).toBe(0);
});
