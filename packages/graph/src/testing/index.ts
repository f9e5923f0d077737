/** `@idlewild/graph/testing`: models of any shape, for tests and benchmarks. */
export { buildDecoder } from './build-decoder.ts';
export type { TestDecoderShape } from './build-decoder.ts';
export { buildEncoder } from './build-encoder.ts';
export type { TestEncoderShape } from './build-encoder.ts';
export { encoderFolderTexts, writeEncoderFolder } from './encoder-folder.ts';
export type { TestEncoder } from './encoder-folder.ts';
export { modelFolderTexts } from './model-folder.ts';
export type { ModelFolderFile } from './model-folder.ts';
export { createSeededNumbers } from './seeds.ts';
export type { SeededNumbers } from './seeds.ts';
