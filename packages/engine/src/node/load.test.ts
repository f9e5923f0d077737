import { systemClock } from '@idlewild/protocol/node';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { prepareModelFolder } from '../testing/index.ts';
import { loadModel } from './load.ts';

const folder = mkdtempSync(join(tmpdir(), 'idlewild-load-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

async function fingerprintWith(headWidth: number): Promise<string> {
  const heads = 2;
  const model = prepareModelFolder({
    folder: join(folder, `heads-${headWidth}`),
    from: {
      shape: { vocab: 300, width: heads * headWidth, layers: 2, heads, kvHeads: heads, feedForward: 64 },
      seed: 1,
    },
  });
  return (await loadModel(model, { threads: 4, slotsMax: 1 }, systemClock)).loaded.fingerprint;
}

test('devices of one kernel family share a fingerprint, whatever the model', async () => {
  const narrow = await fingerprintWith(32);
  expect(narrow).toMatch(/^[0-9a-f]{64}$/);
  expect(await fingerprintWith(64)).toBe(narrow);
});

test('a model on which prefill and decoding differ in a bit gets a fingerprint that nobody shares', async () => {
  const first = await fingerprintWith(160);
  expect(first).toMatch(/^inexact-/);
  expect(await fingerprintWith(160)).not.toBe(first);
});
