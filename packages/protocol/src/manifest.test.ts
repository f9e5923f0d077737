import { CID } from 'multiformats/cid';
import { expect, test } from 'vitest';
import { encodeManifest, decodeManifest, type Manifest } from './manifest.ts';
import { nodeCrypto } from './node/index.ts';

const file = CID.parse('bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy');
const withPath = (path: string): Manifest => ({
  v: 1,
  kind: 'decoder',
  graph: path,
  files: [{ path, file, bytes: 1 }],
  tensors: [],
  contextTokens: 8,
  vocabularyTokens: 8,
  layers: 1,
  card: {},
});

test.each([
  '../owned',
  'a/../../owned',
  'a/..',
  '/etc/passwd',
  './a',
  'a//b',
  'a\\b',
  'C:a',
  'a b',
  'a\u0000',
  'a\n',
  '..',
  '',
])('a manifest with a file at %j is refused by whoever reads it, and said where', async (path) => {
  const { bytes } = await encodeManifest(withPath(path), nodeCrypto);
  expect(() => decodeManifest(bytes)).toThrow(/the manifest is wrong: graph: /);
  const inFiles = await encodeManifest({ ...withPath(path), graph: 'model.onnx' }, nodeCrypto);
  expect(() => decodeManifest(inFiles.bytes)).toThrow(/the manifest is wrong: files\.0\.path: /);
});

test('a plain path is written and read', async () => {
  const { bytes } = await encodeManifest(withPath('onnx/model.onnx_data-1'), nodeCrypto);
  expect(decodeManifest(bytes).graph).toBe('onnx/model.onnx_data-1');
});
