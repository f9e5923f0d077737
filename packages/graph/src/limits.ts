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
  /**
   * Names and single numbers in one file, which take as little as a byte of it and eight of memory: a hundred times
   * what the largest graphs have.
   */
  scalarsMax: 16_777_216,
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
  /** Branches and loops within each other: exporters write two. */
  subgraphDepthMax: 8,
  /** Rounds of a loop, those within loops multiplied: a run has to come to its end. Exported decoders have none. */
  loopRoundsMax: 4_096,
  /**
   * Elements of all that the runtime computes from constants alone, which it does when it loads a graph, before anybody
   * asks for anything: a mask over 16,384 positions squared.
   */
  computedElementsMax: 268_435_456,
  /** Constant shapes and counts are followed up to this length: a shape has `rankMax`, a list of parts a few more. */
  computedValuesMax: 64,
  /** Largest number in an attribute: kernels multiply them as 32-bit integers here and there. */
  attributeIntMax: 2_147_483_647,
  /** Text of an attribute: an Einsum equation, the longest that there is, has some dozen characters. */
  attributeCharactersMax: 1_024,
  /**
   * How often the bytes of a side file may be used by tensors: tied weights are, twice; each use may become a copy in
   * memory.
   */
  fileUsesMax: 4,
  /** Name of a side file, the limit of common file systems. */
  fileNameCharactersMax: 255,
  /** ONNX versions whose meaning the engine's runtime knows. */
  opsetMin: 7,
  opsetMax: 26,
} as const;
