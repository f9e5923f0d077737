/**
 * Some rows of a run for a part of the graph that treats them apart: which axis of each of its inputs is that of the
 * rows, and which of its inputs tell how many rows there are, as exporters pass them on to reshape by.
 *
 * Neither is written in a graph. It shows in runs of different numbers of rows: an axis grows with them, a number does.
 */
import type { GraphSession, GraphTensor, TensorType } from './session.ts';

export type Tensors = Readonly<Record<string, GraphTensor>>;

/** Of one input: rows along an axis; numbers that grow with the rows, by as much each; or the same for all rows. */
type Share = { readonly axis: number } | { readonly perRow: readonly bigint[] } | undefined;
export type RowShares = ReadonlyMap<string, Share>;

/** One run and how many rows it had. */
export interface RowsSeen {
  readonly rows: number;
  readonly tensors: Tensors;
}

/** `undefined` when some input is none of these: then all rows have to be given. */
export function learnShares(
  names: readonly string[],
  runs: readonly [RowsSeen, RowsSeen, ...RowsSeen[]],
): RowShares | undefined {
  const shares = new Map<string, Share>();
  for (const name of names) {
    const seen = runs.map(({ rows, tensors }) => ({ rows, tensor: tensors[name] as GraphTensor }));
    const share = shareOf(seen);
    if (share === 'unknown') return undefined;
    shares.set(name, share);
  }
  return shares;
}

function shareOf(seen: readonly { rows: number; tensor: GraphTensor }[]): Share | 'unknown' {
  const [first, second] = seen as [(typeof seen)[number], (typeof seen)[number]];
  const rank = first.tensor.dims.length;
  if (seen.some(({ tensor }) => tensor.dims.length !== rank)) return 'unknown';
  const changing = first.tensor.dims.flatMap((size, axis) =>
    seen.some(({ tensor }) => tensor.dims[axis] !== size) ? [axis] : [],
  );
  if (changing.length > 0) {
    const [axis] = changing as [number];
    return changing.length === 1 && seen.every(({ rows, tensor }) => tensor.dims[axis] === rows) ? { axis } : 'unknown';
  }
  if (!(first.tensor.data instanceof BigInt64Array)) return isSame(seen) ? undefined : 'unknown';
  const values = seen.map(({ tensor }) => [...(tensor.data as BigInt64Array)]);
  const apart = BigInt(second.rows - first.rows);
  const perRow =
    first.tensor.data.length === 0 ? [] : values[1]?.map((value, i) => (value - (values[0]?.[i] ?? 0n)) / apart);
  const fits = seen.every(({ rows }, run) =>
    values[run]?.every(
      (value, i) => value === (values[0]?.[i] ?? 0n) + (perRow?.[i] ?? 0n) * BigInt(rows - first.rows),
    ),
  );
  return fits && perRow !== undefined ? { perRow } : 'unknown';
}

const isSame = (seen: readonly { tensor: GraphTensor }[]): boolean => {
  const values = seen.map(({ tensor }) => tensor.data as ArrayLike<number>);
  return values.every((own) => Array.from(own).every((value, i) => value === values[0]?.[i]));
};

/** An input as it would be, had only these rows been run; `all` were. */
export function pickRows(
  session: GraphSession,
  tensor: GraphTensor,
  share: Share,
  rows: readonly number[],
  all: number,
): GraphTensor {
  if (share === undefined) return tensor;
  const { data, dims } = tensor;
  if ('perRow' in share) {
    const fewer = BigInt(rows.length - all);
    const values = (data as BigInt64Array).map((value, i) => value + (share.perRow[i] ?? 0n) * fewer);
    return session.tensor('int64', values, dims);
  }
  const { axis } = share;
  const product = (sizes: readonly number[]): number => sizes.reduce((so, size) => so * size, 1);
  const [outer, inner] = [product(dims.slice(0, axis)), product(dims.slice(axis + 1))];
  const from = data as Float32Array;
  const picked = new (from.constructor as Float32ArrayConstructor)(outer * rows.length * inner);
  for (let block = 0; block < outer; block++) {
    for (const [i, row] of rows.entries()) {
      const at = (block * all + row) * inner;
      picked.set(from.subarray(at, at + inner), (block * rows.length + i) * inner);
    }
  }
  return session.tensor(
    tensor.type as TensorType,
    picked,
    dims.map((size, i) => (i === axis ? rows.length : size)),
  );
}
