/**
 * Every bound of this package, each with its reason. A model file is somebody else's: nothing in it may make the
 * reader loop, recurse or allocate out of proportion to its size.
 */
export const LIMITS = {
  /**
   * Nested protobuf messages. A subgraph takes three levels (node, attribute, graph); real decoders stay below 12.
   */
  messageDepthMax: 64,
  /**
   * Messages, byte fields and runs of unknown fields in one file: an empty one takes 2 bytes of the file and about 200
   * of memory.
   */
  elementsMax: 1_000_000,
  /** Protobuf, and so ONNX Runtime, refuses larger messages; weights beyond this must be in side files. */
  modelBytesMax: 2_147_483_647,
  /** Rank of a tensor: attention needs 5. */
  rankMax: 8,
  /**
   * One dimension: ONNX Runtime computes with signed 64 bits, JavaScript exactly up to 2^53; no tensor has more
   * elements than 2^40.
   */
  elementsPerTensorMax: 1_099_511_627_776,
  nodesMax: 200_000,
  /** Name of a side file, the limit of common file systems. */
  fileNameCharactersMax: 255,
  /** ONNX versions whose meaning the engine's runtime knows. */
  opsetMin: 7,
  opsetMax: 26,
} as const;
