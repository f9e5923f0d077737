/**
 * A model as a device holds it: a folder with a weight-free graph, its side file, and the tokeniser's files.
 */
import { externalise, readGraph, writeGraph, type Graph } from '@idlewild/graph';
import { buildDecoder, modelFolderTexts, type TestDecoderShape } from '@idlewild/graph/testing';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  statSync,
  writeFileSync,
  writeSync,
  closeSync,
  openSync,
} from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { EngineModel } from '../core/port.ts';
import { MODEL_TEXT_FILES } from '../core/settings.ts';

export interface PrepareOptions {
  /** Where the folder is made. */
  readonly folder: string;
  /** The bundled model, or a random-weight decoder of this shape. */
  readonly from: 'jacobean' | { readonly shape: TestDecoderShape; readonly seed: number };
  /** Applied to the graph before its weights are moved out; quantising, for instance. */
  readonly transform?: ((graph: Graph) => Graph) | undefined;
}

const JACOBEAN = fileURLToPath(new URL('../../../../models/jacobean', import.meta.url));
const GRAPH_FILE = 'model.onnx';
const SIDE_FILE = 'weights.bin';
const JACOBEAN_CONTEXT = 512;
const DEFAULT_CONTEXT = 2_048;

export function prepareModelFolder({ folder, from, transform = (graph) => graph }: PrepareOptions): EngineModel {
  mkdirSync(folder, { recursive: true });
  const graph =
    from === 'jacobean'
      ? readGraph(new Uint8Array(readFileSync(join(JACOBEAN, 'onnx', GRAPH_FILE))))
      : buildDecoder(from.shape, from.seed);
  const moved = externalise(transform(graph), { location: SIDE_FILE });
  writeFileSync(join(folder, GRAPH_FILE), writeGraph(moved.graph));
  const side = openSync(join(folder, SIDE_FILE), 'w');
  for (const chunk of moved.chunks()) writeSync(side, chunk);
  closeSync(side);
  if (from === 'jacobean') {
    for (const file of Object.values(MODEL_TEXT_FILES))
      if (existsSync(join(JACOBEAN, file))) copyFileSync(join(JACOBEAN, file), join(folder, file));
  } else {
    for (const [file, text] of Object.entries(modelFolderTexts(from.shape))) writeFileSync(join(folder, file), text);
  }
  return {
    cid: `test-${from === 'jacobean' ? from : `decoder-${from.seed}`}`,
    folder,
    graph: GRAPH_FILE,
    contextTokens: from === 'jacobean' ? JACOBEAN_CONTEXT : (from.shape.context ?? DEFAULT_CONTEXT),
    fileBytes: Object.fromEntries(readdirSync(folder).map((file) => [file, statSync(join(folder, file)).size])),
  };
}
