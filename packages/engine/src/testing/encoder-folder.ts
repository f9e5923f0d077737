/** An encoder as a device holds it: a folder with a weight-free graph, its side file, and the texts beside it. */
import { externalise, writeGraph } from '@idlewild/graph';
import { buildEncoder, encoderFolderTexts, type TestEncoder } from '@idlewild/graph/testing';
import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { EngineModel } from '../core/port.ts';

export function prepareEncoderFolder(folder: string, encoder: TestEncoder): EngineModel {
  const { shape, seed, transform = (graph) => graph } = encoder;
  const put = (path: string, content: string | Uint8Array): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  };
  const moved = externalise(transform(buildEncoder(shape, seed)), { location: 'weights.bin' });
  put('model.onnx', writeGraph(moved.graph));
  put('weights.bin', Buffer.concat([...moved.chunks()]));
  for (const [path, text] of Object.entries(encoderFolderTexts(encoder))) put(path, text);
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return {
    cid: `test-encoder-${seed}`,
    kind: shape.labels === undefined ? 'encoder' : 'classifier',
    folder,
    graph: 'model.onnx',
    contextTokens: shape.context,
    fileBytes: Object.fromEntries(
      files.map(({ parentPath, name }) => {
        const path = join(parentPath, name);
        return [path.slice(folder.length + 1).replaceAll('\\', '/'), statSync(path).size];
      }),
    ),
  };
}
