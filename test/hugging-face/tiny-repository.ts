/** The bundled model as a repository of Hugging Face: two graphs, one of them with its weights in two side files. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { externalise, quantiseMatMul4, readGraph, writeGraph } from '@idlewild/graph';
import type { MirrorFile } from './mirror.ts';

const JACOBEAN = join(import.meta.dirname, '../../models/jacobean');
const TEXTS = ['config.json', 'generation_config.json', 'tokenizer.json', 'tokenizer_config.json', 'README.md'];

export function tinyRepository(): Record<string, MirrorFile> {
  const files: Record<string, MirrorFile> = { '.gitattributes': { bytes: Buffer.from('*.onnx filter=lfs\n') } };
  for (const path of TEXTS) files[path] = { bytes: readFileSync(join(JACOBEAN, path)) };
  const graph = readGraph(new Uint8Array(readFileSync(join(JACOBEAN, 'onnx/model.onnx'))));
  const first = externalise(graph, { location: 'model.onnx_data', inlineBytesMax: 200_000 });
  const second = externalise(first.graph, { location: 'model.onnx_data_1' });
  files['onnx/model.onnx'] = { bytes: writeGraph(second.graph), large: true };
  files['onnx/model.onnx_data'] = { bytes: Buffer.concat([...first.chunks()]), large: true };
  files['onnx/model.onnx_data_1'] = { bytes: Buffer.concat([...second.chunks()]), large: true };
  files['onnx/model_q4.onnx'] = { bytes: writeGraph(quantiseMatMul4(graph)), large: true };
  files['model.safetensors'] = { bytes: new Uint8Array(1_000_000), large: true };
  return files;
}
