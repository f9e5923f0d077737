/**
 * The models that benches answer with, as model folders: the bundled one, the same with 4-bit weights, and one of 134
 * million random parameters. What has to be made is made once and kept under `.idlewild/bench`, which git ignores.
 */
import { copyFileSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { quantiseMatMul4, readGraph, writeGraph } from '@idlewild/graph';
import { buildDecoder, modelFolderTexts, type TestDecoderShape } from '@idlewild/graph/testing';

const root = dirname(import.meta.dirname);
const bundled = join(root, 'models', 'jacobean');
const kept = join(root, '.idlewild', 'bench', 'models');

/** 12 layers and two tables of 32,000 × 768: 134 million parameters. */
const LARGE: TestDecoderShape = {
  vocab: 32_000,
  width: 768,
  layers: 12,
  heads: 12,
  kvHeads: 12,
  feedForward: 2_048,
  context: 1_024,
};
const LARGE_SEED = 1;

export const bundledModel = (): string => bundled;

/** The bundled model, its products with constant matrices made `MatMulNBits`. */
export const fourBitModel = (): string =>
  keep('jacobean-4bit', (folder) => {
    for (const file of ['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json']) {
      copyFileSync(join(bundled, file), join(folder, file));
    }
    const graph = readGraph(new Uint8Array(readFileSync(join(bundled, 'onnx', 'model.onnx'))));
    writeFileSync(join(folder, 'onnx', 'model.onnx'), writeGraph(quantiseMatMul4(graph)));
  });

export const largeModel = (): string =>
  keep('random-134m', (folder) => {
    for (const [file, text] of Object.entries(modelFolderTexts(LARGE))) writeFileSync(join(folder, file), text);
    writeFileSync(join(folder, 'onnx', 'model.onnx'), writeGraph(buildDecoder(LARGE, LARGE_SEED)));
  });

/** The large one with 4-bit weights: 84 MB of products, and a table of embeddings that stays as it is. */
export const largeFourBitModel = (): string =>
  keep('random-134m-4bit', (folder) => {
    for (const [file, text] of Object.entries(modelFolderTexts(LARGE))) writeFileSync(join(folder, file), text);
    writeFileSync(join(folder, 'onnx', 'model.onnx'), writeGraph(quantiseMatMul4(buildDecoder(LARGE, LARGE_SEED))));
  });

/** A folder is there whole or not at all: it gets its name last. */
function keep(name: string, fill: (folder: string) => void): string {
  const folder = join(kept, name);
  if (existsSync(folder)) return folder;
  const making = `${folder}.${process.pid}`;
  rmSync(making, { recursive: true, force: true });
  mkdirSync(join(making, 'onnx'), { recursive: true });
  fill(making);
  renameSync(making, folder);
  return folder;
}
