import { quantiseMatMul4, type Graph } from '@idlewild/graph';
import { buildExport, buildGenai, halfGraph, type ExportStyle } from '@idlewild/graph/testing';
import { systemClock } from '@idlewild/protocol/node';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { collect, prepareModelFolder, tokensOf, work } from '../testing/index.ts';
import { loadModel } from './load.ts';

const folder = mkdtempSync(join(tmpdir(), 'idlewild-load-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** With a slope in its mask a graph cannot be cut, and its attention is the runtime's own. */
async function fingerprintWith(headWidth: number, style: ExportStyle = {}): Promise<string> {
  const heads = 2;
  const shape = { vocab: 300, width: heads * headWidth, layers: 2, heads, kvHeads: heads, feedForward: 64 };
  const model = prepareModelFolder({
    folder: join(folder, `heads-${headWidth}-${style.slope ?? 0}`),
    from: { shape, seed: 1 },
    transform: () => buildExport(shape, style, 1),
  });
  return (await loadModel(model, { threads: 4, slotsMax: 1 }, systemClock)).loaded.fingerprint;
}

test('devices of one kernel family share a fingerprint, whatever the model', async () => {
  const narrow = await fingerprintWith(32);
  expect(narrow).toMatch(/^[0-9a-f]{64}$/);
  expect(await fingerprintWith(64)).toBe(narrow);
  expect(await fingerprintWith(160)).toBe(narrow);
});

test('a model on which prefill and decoding differ in a bit gets a fingerprint that nobody shares', async () => {
  const first = await fingerprintWith(160, { slope: 0.1 });
  expect(first).toMatch(/^inexact-/);
  expect(await fingerprintWith(160, { slope: 0.1 })).not.toBe(first);
});

const shape = { vocab: 300, width: 64, layers: 2, heads: 4, kvHeads: 4, feedForward: 96, context: 160 };
const quantised = (graph: Graph): Graph => quantiseMatMul4(graph, { block: 32, symmetric: true });

test.for([
  ['GenAI, 4-bit weights, 16 bits between', (): Graph => halfGraph(quantised(buildGenai(shape, {}, 2)))],
  ['GPT-2 without position_ids', (): Graph => buildExport(shape, { family: 'gpt2', positions: 'past' }, 2)],
  ['run whole in 16 bits', (): Graph => halfGraph(buildExport(shape, { slope: 0.1 }, 2))],
] as const)('%s: an answer resumed after any token goes on as it was', { timeout: 60_000 }, async ([name, build]) => {
  const from = { shape, seed: 2 };
  const model = prepareModelFolder({ folder: join(folder, name.replaceAll(/\W+/g, '-')), from, transform: build });
  const { loop, loaded } = await loadModel(model, { threads: 2, slotsMax: 3 }, systemClock);
  expect(loaded.fingerprint).toMatch(/^[0-9a-f]{64}$/);
  const over = { prompt: { kind: 'text', text: 'What news on the Rialto?' }, tokensMax: 40 } as const;
  const whole = collect(loop, work(over));
  await whole.over;
  const tokens = tokensOf(whole.events);
  expect(tokens.length).toBeGreaterThan(20);
  for (let k = 0; k <= tokens.length; k += 7) {
    const beside = collect(loop, work({ sampling: { seed: k }, tokensMax: 9 }));
    const rest = collect(loop, work({ ...over, tokens: tokens.slice(0, k) }));
    await Promise.all([rest.over, beside.over]);
    expect(tokensOf(rest.events)).toEqual(tokens.slice(k));
  }
});
