/** `@idlewild/graph/testing`: models of any shape, for tests and benchmarks. */
export { buildDecoder } from './build-decoder.ts';
export type { TestDecoderShape } from './build-decoder.ts';
export { buildExport } from './build-export.ts';
export type { ExportStyle } from './build-export.ts';
export { buildGenai } from './build-genai.ts';
export type { GenaiStyle } from './build-genai.ts';
export { halfGraph } from './half-graph.ts';
export { buildEncoder } from './build-encoder.ts';
export type { TestEncoderShape } from './build-encoder.ts';
export { writeDecoderFolder } from './decoder-folder.ts';
export type { TestDecoder } from './decoder-folder.ts';
export { encoderFolderTexts, writeEncoderFolder } from './encoder-folder.ts';
export type { TestEncoder } from './encoder-folder.ts';
export { modelFolderTexts } from './model-folder.ts';
export type { ModelFolderFile } from './model-folder.ts';
export { createSeededNumbers } from './seeds.ts';
export type { SeededNumbers } from './seeds.ts';
