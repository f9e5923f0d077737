/** What lies in a model's folder, before the runtime opens it by itself. */
import { codeOf } from '@idlewild/protocol';
import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, symlinkSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeEach, expect, test } from 'vitest';
import type { EngineModel } from '../core/port.ts';
import { prepareModelFolder } from '../testing/index.ts';
import { readCheckedGraph } from './load.ts';

const root = mkdtempSync(join(tmpdir(), 'idlewild-files-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
const shape = { vocab: 300, width: 64, layers: 1, heads: 2, kvHeads: 2, feedForward: 64 };
const good = prepareModelFolder({ folder: join(root, 'good'), from: { shape, seed: 1 } });

const folder = join(root, 'model');
const model: EngineModel = { ...good, folder };
/** The same files, one folder further down. */
const within: EngineModel = {
  ...model,
  graph: 'onnx/model.onnx',
  fileBytes: Object.fromEntries(Object.entries(good.fileBytes).map(([path, bytes]) => [`onnx/${path}`, bytes])),
};
beforeEach(() => {
  rmSync(folder, { recursive: true, force: true });
  cpSync(good.folder, folder, { recursive: true });
});

function verdict(of: EngineModel): string {
  try {
    readCheckedGraph(of);
    return 'read';
  } catch (error) {
    return `${codeOf(error)}: ${(error as Error).message}`;
  }
}

function moveDown(to: string): void {
  renameSync(folder, to);
  mkdirSync(folder, { recursive: true });
}

test('a model is read, at the top of its folder and below', () => {
  expect(verdict(model)).toBe('read');
  const below = join(root, 'below');
  moveDown(below);
  renameSync(below, join(folder, 'onnx'));
  expect(verdict(within)).toBe('read');
});

test('weights or a graph in whose place there is a link are refused, wherever it leads', () => {
  for (const file of ['weights.bin', 'model.onnx']) {
    rmSync(join(folder, file));
    symlinkSync(join(good.folder, file), join(folder, file));
    expect([file, verdict(model)]).toEqual([file, expect.stringMatching(`model_refused: '${file}' .* is a link`)]);
    rmSync(join(folder, file));
    cpSync(join(good.folder, file), join(folder, file));
  }
});

test('so is a folder on the way that is a link', () => {
  const elsewhere = join(root, 'elsewhere');
  moveDown(elsewhere);
  symlinkSync(elsewhere, join(folder, 'onnx'));
  expect(verdict(within)).toMatch(/model_refused: 'onnx' .* is a link/);
});

test('a path that leaves the folder is refused before anything is opened', () => {
  for (const graph of [
    '../good/model.onnx',
    '/etc/passwd',
    'a/../../good/model.onnx',
    './model.onnx',
    'a\\model.onnx',
    '',
  ])
    expect(verdict({ ...model, graph })).toMatch(/model_refused: .* leaves its folder/);
});

test('weights that are shorter than their manifest says are not mapped', () => {
  truncateSync(join(folder, 'weights.bin'), 1_000);
  expect(verdict(model)).toMatch(/model_invalid: 'weights.bin' .* has 1000 bytes/);
  rmSync(join(folder, 'weights.bin'));
  expect(verdict(model)).toMatch(/model_invalid: .*weights.bin.* cannot be read/);
});
