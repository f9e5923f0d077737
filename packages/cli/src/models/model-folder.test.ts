import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { externalise, readGraph, writeGraph } from '@idlewild/graph';
import { decodeManifest } from '@idlewild/protocol';
import { afterAll, expect, test } from 'vitest';
import { readModelFolder, type ModelFolder } from './model-folder.ts';
import { readLicence } from './model-texts.ts';
import { memoryPart } from './parts.ts';

const folder = mkdtempSync(join(tmpdir(), 'idlewild-model-'));
afterAll(() => rmSync(folder, { recursive: true }));
const jacobean = join(import.meta.dirname, '../../../../models/jacobean');
const { signal } = new AbortController();
const read = (from: string): Promise<ModelFolder> => readModelFolder(from, { signal, onProgress: () => undefined });

/** The bundled model without its corpus, to be spoilt. */
function copy(name: string): string {
  const to = join(folder, name);
  cpSync(jacobean, to, { recursive: true, filter: (path) => !path.includes('corpus') });
  return to;
}

test('the bundled model becomes a manifest of a weight-free graph, its weights and its texts', async () => {
  const seen: number[] = [];
  const model = await readModelFolder(jacobean, { signal, onProgress: (done) => seen.push(done) });
  const manifest = decodeManifest(model.manifest.bytes);
  expect(manifest.files.map(({ path }) => path)).toEqual([
    'config.json',
    'generation_config.json',
    'model.onnx',
    'tokenizer.json',
    'tokenizer_config.json',
    'weights.bin',
  ]);
  expect(manifest).toMatchObject({ graph: 'model.onnx', contextTokens: 512, vocabularyTokens: 2_048, layers: 6 });
  expect(manifest.card).toEqual({ licence: 'cc0-1.0' });
  expect(manifest.files.find(({ path }) => path === 'model.onnx')?.bytes).toBeLessThan(100_000);
  expect(seen.at(-1)).toBe(manifest.files.reduce((sum, { bytes }) => sum + bytes, 0));
});

test('the same folder gives the same CID, wherever it lies', async () => {
  const cid = async (from: string): Promise<string> => (await read(from)).manifest.cid.toString();
  expect(await cid(copy('again'))).toBe(await cid(jacobean));
});

test('weights in side files stay in them', async () => {
  const from = copy('sides');
  const whole = externalise(readGraph(new Uint8Array(readFileSync(join(from, 'onnx/model.onnx')))), {
    location: 'model.onnx_data',
  });
  writeFileSync(join(from, 'onnx/model.onnx'), writeGraph(whole.graph));
  writeFileSync(join(from, 'onnx/model.onnx_data'), Buffer.concat([...whole.chunks()]));
  const model = await read(from);
  expect(model.files.map(({ path }) => path)).toContain('model.onnx_data');
  rmSync(join(from, 'onnx/model.onnx_data'));
  await expect(read(from)).rejects.toThrow(/onnx\/model\.onnx says that weights lie in "model\.onnx_data"/);
});

test('what is missing or wrong is named', async () => {
  const empty = join(folder, 'empty');
  mkdirSync(empty);
  await expect(read(join(folder, 'nowhere'))).rejects.toThrow(/there is no folder/);
  await expect(read(empty)).rejects.toThrow(/holds no onnx\/model\.onnx/);
  const from = copy('wrong');
  writeFileSync(join(from, 'config.json'), '{"vocab_size": 2048}');
  await expect(read(from)).rejects.toThrow(/config\.json does not say the length of its context/);
  writeFileSync(join(from, 'config.json'), '{');
  await expect(read(from)).rejects.toThrow(/config\.json is not JSON/);
  writeFileSync(join(from, 'onnx/model.onnx'), 'no protobuf at all');
  cpSync(join(jacobean, 'config.json'), join(from, 'config.json'));
  await expect(read(from)).rejects.toThrow(/onnx\/model\.onnx/);
  rmSync(join(from, 'tokenizer.json'));
  await expect(read(from)).rejects.toThrow(/holds no tokenizer\.json/);
});

test('a range of a file in pieces is the same as of the whole', async () => {
  const pieces = [3, 0, 5, 1].map((length, index) => new Uint8Array(length).fill(index + 1));
  const whole = Buffer.concat(pieces);
  const part = memoryPart('x', pieces);
  for (let from = 0; from < whole.length; from++) {
    for (let to = from + 1; to <= whole.length; to++) {
      expect(Buffer.from(await part.read(from, to - from))).toEqual(whole.subarray(from, to));
    }
  }
});

test('the licence is read from the front matter and from nowhere else', () => {
  expect(readLicence('---\nlanguage: en\nlicense: apache-2.0\n---\n# x')).toBe('apache-2.0');
  expect(readLicence('---\nlicense: "mit"\n---')).toBe('mit');
  expect(readLicence('# x\nlicense: mit')).toBeUndefined();
});
