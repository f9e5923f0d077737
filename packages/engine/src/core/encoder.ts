/**
 * An encoder graph as a function: texts of one length in, what the graph computes of each out.
 *
 * Texts are never padded: a padded text gives other bits than one alone (measured on onnxruntime 1.30, x86: with 16-bit
 * and 4-bit weights, and with heads 192 wide). Whether several at once do is for the loop to find out. Products with
 * 4-bit weights in f32 cut their rows into blocks where they have several threads, and a block of one row takes another
 * path: there a text that would leave one row over is run beside itself, so that the number of threads changes nothing.
 */
import { attributeOf, type EncoderShape, type Graph } from '@idlewild/graph';
import type { GraphSession, GraphTensor } from './session.ts';

export interface Encoder {
  /** Of each text: width values for each of its tokens, or width values in all. Throws `engine_failed`. */
  run(texts: readonly (readonly number[])[]): Promise<Float32Array[]>;
}

/** Of MatMulNBits in onnxruntime 1.30: 129 rows on two threads leave one. */
const BLOCK_ROWS = 128;
/** `accuracy_level` that computes in int8, row by row. */
const INT8 = 4;

/** `graph`: the one that the session runs. */
export function createEncoder(session: GraphSession, shape: EncoderShape, graph: Graph): Encoder {
  const hasBlocks = graph.nodes.some(
    (node) => node.op === 'MatMulNBits' && Number(attributeOf(node, 'accuracy_level', 'int') ?? 0) !== INT8,
  );
  return {
    async run(asked) {
      const leavesOne = hasBlocks && (asked.length * (asked[0]?.length ?? 0)) % BLOCK_ROWS === 1;
      const texts = leavesOne ? [...asked, ...asked] : asked;
      const length = texts[0]?.length ?? 0;
      const dims = [texts.length, length];
      const filled = (value: (column: number) => number): GraphTensor =>
        session.tensor(
          'int64',
          BigInt64Array.from({ length: texts.length * length }, (_, i) => BigInt(value(i % length))),
          dims,
        );
      const feeds: Record<string, GraphTensor> = {
        input_ids: session.tensor('int64', BigInt64Array.from(texts.flat(), BigInt), dims),
      };
      if (shape.hasMask) feeds['attention_mask'] = filled(() => 1);
      if (shape.hasTokenTypes) feeds['token_type_ids'] = filled(() => 0);
      if (shape.hasPositionIds) feeds['position_ids'] = filled((column) => column);
      const outputs = await session.run(feeds, [shape.output.name]);
      const values = floatsOf(outputs[shape.output.name] as GraphTensor);
      const each = values.length / texts.length;
      return asked.map((_, i) => values.slice(i * each, (i + 1) * each));
    },
  };
}

function floatsOf({ data }: GraphTensor): Float32Array {
  if (data instanceof Float32Array) return data;
  return Float32Array.from(data as ArrayLike<number>, data instanceof Uint16Array ? floatOfHalf : Number);
}

/** IEEE 754 binary16 from its bits. */
function floatOfHalf(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0x1f) return fraction === 0 ? sign * Infinity : Number.NaN;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1_024 + fraction) * 2 ** (exponent - 25);
}
