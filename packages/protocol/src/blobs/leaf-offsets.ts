/** Where the leaves of a file lie in it, and which of them a byte range touches. */
import { IdlewildError } from '../errors.ts';
import type { FileLayout } from '../ports.ts';

/** Part of one leaf: bytes `[from, to)` counted from the leaf's own start. */
export interface LeafSpan {
  readonly leaf: number;
  readonly from: number;
  readonly to: number;
}

export interface LeafOffsets {
  /** First byte of a leaf in the file. */
  startOf(leaf: number): number;
  /** Throws `invalid_request` when the range is not inside the file. */
  spansOf(offset: number, length: number): LeafSpan[];
}

export function createLeafOffsets(layout: FileLayout): LeafOffsets {
  const starts = new Float64Array(layout.leaves.length + 1);
  layout.leaves.forEach((leaf, index) => {
    starts[index + 1] = (starts[index] as number) + leaf.bytes;
  });
  const startOf = (leaf: number): number => starts[leaf] as number;

  const leafAt = (offset: number): number => {
    let low = 0;
    let high = layout.leaves.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (startOf(middle) <= offset) low = middle;
      else high = middle;
    }
    return low;
  };

  return {
    startOf,
    spansOf(offset, length) {
      const end = offset + length;
      if (!Number.isInteger(offset) || !Number.isInteger(length) || offset < 0 || length < 0 || end > layout.bytes) {
        throw new IdlewildError(
          'invalid_request',
          `bytes ${offset} to ${end} are not inside ${layout.root} of ${layout.bytes} bytes`,
        );
      }
      const spans: LeafSpan[] = [];
      for (let leaf = leafAt(offset); length > 0 && startOf(leaf) < end; leaf++) {
        const start = startOf(leaf);
        spans.push({ leaf, from: Math.max(0, offset - start), to: Math.min(startOf(leaf + 1), end) - start });
      }
      return spans;
    },
  };
}
