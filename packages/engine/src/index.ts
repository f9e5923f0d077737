/** Running a graph: the port that agents use, and the tokenising, sampling and decoding behind it. */
export type { Embedded, Engine, EngineEvent, EngineHost, EngineLimits, EngineModel, Halting } from './core/port.ts';
export type { GraphSession, GraphTensor, TensorType } from './core/session.ts';
export type { Decoder, DecoderPart, Kv } from './core/decoder.ts';
export { createDecodeLoop, type DecodeLoop, type DecodeLoopOptions } from './core/decode-loop.ts';
export { MODEL_TEXT_FILES, readSettings, type ModelSettings, type ModelTexts } from './core/settings.ts';
export { createTextStream, createTokenizer, type TextStream, type Tokenizer } from './core/tokenizer.ts';
export { LIMITS as ENGINE_LIMITS } from './core/limits.ts';
