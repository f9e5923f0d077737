/** `@idlewild/graph/testing`: models of any shape, for tests and benchmarks. */
export { buildDecoder } from './build-decoder.ts';
export type { TestDecoderShape } from './build-decoder.ts';
export { modelFolderTexts } from './model-folder.ts';
export type { ModelFolderFile } from './model-folder.ts';
export { createSeededNumbers } from './seeds.ts';
export type { SeededNumbers } from './seeds.ts';
