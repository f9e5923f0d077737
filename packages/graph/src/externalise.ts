/**
 * Moves a graph's weights into one side file, so that what remains is small enough to read, check and sign.
 *
 * The side file holds the tensors in graph order, each at a multiple of `alignBytes`, zeros between: the same graph
 * gives the same file. Tensors that lie in a side file already stay there. Nothing is copied: `chunks` yields the
 * graph's own arrays.
 */
import { IdlewildError } from '@idlewild/protocol';

import type { Graph, InlineTensor, Tensor } from './graph.ts';
import { isExternal } from './graph.ts';

export interface ExternaliseOptions {
  /** Name of the side file. */
  readonly location?: string;
  /**
   * Tensors up to this size stay in the graph: shapes and scalars, which the runtime wants to see when it optimises.
   */
  readonly inlineBytesMax?: number;
  /** 64 is a cache line and the widest vector register. */
  readonly alignBytes?: number;
}

/** Where the bytes of one external tensor are. `dtype` is the ONNX number. */
export interface TensorEntry {
  readonly name: string;
  readonly dtype: number;
  readonly dims: readonly number[];
  readonly file: string;
  readonly offset: number;
  readonly bytes: number;
}

export interface Externalised {
  /** The graph, its large tensors external. */
  readonly graph: Graph;
  /** Every external tensor, moved now or external before, in graph order. */
  readonly tensors: readonly TensorEntry[];
  /** Length of the side file; 0 when nothing was moved. */
  readonly bytes: number;
  /** The side file from its start. */
  chunks(): Iterable<Uint8Array>;
}

/** @throws IdlewildError `model_invalid` when a tensor lies in a file of the new side file's name already */
export function externalise(graph: Graph, options: ExternaliseOptions = {}): Externalised {
  const { location = 'weights.bin', inlineBytesMax = 1_024, alignBytes = 64 } = options;
  const moved: [tensor: InlineTensor, offset: number][] = [];
  const tensors = new Map<string, Tensor>();
  let end = 0;
  for (const tensor of graph.tensors.values()) {
    if (isExternal(tensor)) {
      if (tensor.external.location === location) {
        throw new IdlewildError(
          'model_invalid',
          `tensor '${tensor.name}' lies in '${location}' already: choose another name for the side file`,
        );
      }
      tensors.set(tensor.name, tensor);
    } else if (tensor.data.length <= inlineBytesMax) {
      tensors.set(tensor.name, tensor);
    } else {
      const offset = Math.ceil(end / alignBytes) * alignBytes;
      end = offset + tensor.data.length;
      moved.push([tensor, offset]);
      const { data, ...head } = tensor;
      tensors.set(tensor.name, { ...head, external: { location, offset, bytes: data.length } });
    }
  }
  return {
    graph: { ...graph, tensors },
    tensors: tensorEntries({ ...graph, tensors }),
    bytes: end,
    chunks: () => sideFile(moved),
  };
}

/** The external tensors of a graph, in its order. */
export const tensorEntries = (graph: Graph): TensorEntry[] =>
  [...graph.tensors.values()]
    .filter(isExternal)
    .map(({ name, dtype, dims, external }) => ({
      name,
      dtype,
      dims,
      file: external.location,
      offset: external.offset,
      bytes: external.bytes,
    }));

function* sideFile(moved: readonly (readonly [tensor: InlineTensor, offset: number])[]): Generator<Uint8Array> {
  let at = 0;
  for (const [{ data }, offset] of moved) {
    if (offset > at) yield new Uint8Array(offset - at);
    yield data;
    at = offset + data.length;
  }
}
