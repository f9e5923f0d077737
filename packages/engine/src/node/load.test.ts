import { buildExport, type ExportStyle } from '@idlewild/graph/testing';
import { systemClock } from '@idlewild/protocol/node';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { prepareModelFolder } from '../testing/index.ts';
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
