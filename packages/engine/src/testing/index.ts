/** For tests and benchmarks of whoever runs engines: runnable model folders, and a decoder that needs none. */
export { createMemoryDecoder, type MemoryDecoder, type MemoryDecoderOptions } from './memory-decoder.ts';
export { prepareEncoderFolder } from './encoder-folder.ts';
export { prepareModelFolder, type PrepareOptions } from './model-folder.ts';
export { createMemorySession, type MemorySession, type MemorySessionOptions } from './memory-session.ts';
export { collect, textOf, tokensOf, work, type Collected } from './answers.ts';
export { createSearchGrammars } from './search-grammars.ts';
