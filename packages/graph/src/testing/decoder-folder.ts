/**
 * A decoder as it lies on the Hugging Face hub: the graph in `onnx/`, its weights in as many files, the texts beside.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import { externalise } from '../externalise.ts';
import { isExternal, type Graph } from '../graph.ts';
import { writeGraph } from '../write.ts';
import type { TestDecoderShape } from './build-decoder.ts';
import { modelFolderTexts } from './model-folder.ts';

export interface TestDecoder {
  readonly graph: Graph;
  readonly shape: TestDecoderShape;
  /** Files that hold the weights; 0, the default, leaves them in the graph. */
  readonly sides?: number;
  /** Tokens that end an answer; 0 by default. */
  readonly endIds?: readonly number[];
}

export function writeDecoderFolder(folder: string, { graph, shape, sides = 0, endIds }: TestDecoder): void {
  const put = (path: string, content: string | Uint8Array): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  };
  let rest = graph;
  for (let side = 0; side < sides; side++) {
    const location = `model.onnx_data${side === 0 ? '' : `_${side}`}`;
    const inside = [...rest.tensors].filter(([, tensor]) => !isExternal(tensor));
    const share = new Map(inside.slice(0, Math.ceil(inside.length / (sides - side))));
    const moved = externalise({ ...rest, tensors: share }, { location });
    put(`onnx/${location}`, Buffer.concat([...moved.chunks()]));
    rest = { ...rest, tensors: new Map([...rest.tensors, ...moved.graph.tensors]) };
  }
  put('onnx/model.onnx', writeGraph(rest));
  for (const [path, text] of Object.entries(modelFolderTexts(shape, { endIds }))) put(path, text);
}
