/**
 * onnxruntime-node as the tests of this package use it: a graph in, an open session out, and a decoder that keeps its
 * cache between steps.
 *
 * The engine has its own; this one is for proofs about graphs. It is not exported.
 */
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';

import { describeDecoder } from '../decoder.ts';
import type { Graph } from '../graph.ts';
import { writeGraph } from '../write.ts';

export interface SideFile {
  readonly path: string;
  readonly data: Uint8Array;
}

export function openSession(
  graph: Graph | Uint8Array,
  threads = 1,
  sideFiles: readonly SideFile[] = [],
): Promise<InferenceSession> {
  return InferenceSession.create(graph instanceof Uint8Array ? graph : writeGraph(graph), {
    intraOpNumThreads: threads,
    // Two sessions in turn on shared cores: spinning would make each wait for the other.
    extra: { session: { intra_op: { allow_spinning: '0' } } },
    ...(sideFiles.length === 0 ? {} : { externalData: [...sideFiles] }),
  });
}

export const int64 = (values: readonly number[], dims: readonly number[]): OrtTensor =>
  new OrtTensor('int64', BigInt64Array.from(values, BigInt), dims);

export interface StepDecoder {
  /** Drops the cache beyond `keep` positions, runs `tokens` after it and returns the logits of each of their rows. */
  step(tokens: readonly number[], keep: number): Promise<Float32Array[]>;
  /** Positions in the cache. */
  cached(): number;
  release(): Promise<void>;
}

/** Runs a graph that `trimmablePast` made. */
export async function openDecoder(
  graph: Graph,
  threads = 1,
  sideFiles: readonly SideFile[] = [],
): Promise<StepDecoder> {
  const shape = describeDecoder(graph);
  const session = await openSession(graph, threads, sideFiles);
  const empty = (): OrtTensor => new OrtTensor('float32', new Float32Array(0), [1, shape.kvHeads, 0, shape.headDim]);
  let past = shape.pastNames.map(empty);
  let cached = 0;
  return {
    cached: () => cached,
    release: () => session.release(),
    step: async (tokens, keep) => {
      const positions = tokens.map((_, i) => keep + i);
      const total = keep + tokens.length;
      const outputs = await session.run({
        input_ids: int64(tokens, [1, tokens.length]),
        attention_mask: int64(new Array<number>(total).fill(1), [1, total]),
        ...(shape.hasPositionIds ? { position_ids: int64(positions, [1, tokens.length]) } : {}),
        past_keep: int64([keep], [1]),
        ...Object.fromEntries(shape.pastNames.map((name, i) => [name, past[i] as OrtTensor])),
      });
      past = shape.presentNames.map((name) => outputs[name] as OrtTensor);
      cached = total;
      const logits = outputs['logits'] as OrtTensor;
      const vocab = logits.dims[2] as number;
      const values = logits.data as Float32Array;
      return tokens.map((_, row) => values.slice(row * vocab, (row + 1) * vocab));
    },
  };
}

/** Where two runs first differ by a bit; `undefined` when nowhere. */
export function firstDifference(left: readonly Float32Array[], right: readonly Float32Array[]): string | undefined {
  if (left.length !== right.length) return `${left.length} rows against ${right.length}`;
  for (const [row, values] of left.entries()) {
    const other = right[row] as Float32Array;
    if (values.length !== other.length) return `row ${row}: ${values.length} values against ${other.length}`;
    const [a, b] = [values, other].map((floats) => new Int32Array(floats.buffer, floats.byteOffset, floats.length)) as [
      Int32Array,
      Int32Array,
    ];
    const at = a.findIndex((bits, i) => bits !== b[i]);
    if (at !== -1) return `row ${row}, value ${at}: ${values[at]} against ${other[at]}`;
  }
  return undefined;
}
