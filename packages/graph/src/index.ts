/** `@idlewild/graph`: ONNX as data. Pure: bytes and values in, bytes and values out. */
export { computeInInt8 } from './accuracy.ts';
export { liftAttention } from './attention.ts';
export type { Attention, LiftedDecoder, Positions } from './attention.ts';
export type { AttentionSite } from './attention-draft.ts';
export { createGraphBuilder } from './builder.ts';
export type { AttributeInput, Attributes, GraphBuilder, GraphBuilderOptions } from './builder.ts';
export { checkGraph } from './check.ts';
export type { GraphCheck } from './check.ts';
export { PAST_KEEP, describeDecoder, trimmablePast } from './decoder.ts';
export type { DecoderShape } from './decoder.ts';
export { DTYPE, bytesOf, dtypeBits, dtypeName, elementsOf } from './dtypes.ts';
export type { DTypeName } from './dtypes.ts';
export { describeEncoder, labelsOf, modelKindOf } from './encoder.ts';
export type { EncoderShape, ModelConfig } from './encoder.ts';
export { ENCODER_TEXTS, readEncoderRecipe } from './encoder-recipe.ts';
export type { EncoderRecipe, EncoderTexts, Pooling } from './encoder-recipe.ts';
export { externalise, tensorEntries } from './externalise.ts';
export type { Externalised, ExternaliseOptions, TensorEntry } from './externalise.ts';
export { floatEnds } from './float-ends.ts';
export { fingerprintGraph } from './fingerprint.ts';
export type { Feed, Fingerprint } from './fingerprint.ts';
export { attributeOf, blocksOf, feedsOf, floatsOf, isExternal, nodeTitle, tensorOf } from './graph.ts';
export type {
  Attribute,
  AttributeKind,
  AttributeValues,
  Block,
  Dimension,
  External,
  ExternalTensor,
  Graph,
  InlineTensor,
  Node,
  NumberArray,
  Tensor,
  ValueInfo,
} from './graph.ts';
export { floatOfHalf } from './half.ts';
export { LIMITS as GRAPH_LIMITS } from './limits.ts';
export { keepAllLogits } from './logits-to-keep.ts';
export { OPERATORS } from './operators.ts';
export { countParameters } from './parameters.ts';
export { probeMasks, probePositions } from './probes.ts';
export type { Probe } from './probes.ts';
export { decodeMessage, encodeMessage } from './protobuf.ts';
export type { EncodedMessage } from './protobuf.ts';
export { quantiseBlocks4, quantiseMatMul4 } from './quantise.ts';
export type { Quantise4Options, Quantised4 } from './quantise.ts';
export { readGraph } from './read.ts';
export type { Int, Message, MessageName } from './schema.ts';
export { cutAtAttention } from './segments.ts';
export type { Segment } from './segments.ts';
export { writeGraph, writeGraphChunks } from './write.ts';
