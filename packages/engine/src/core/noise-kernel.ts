/**
 * The sampler's noise for a whole vocabulary at once, in WebAssembly's vectors: a step of eight answers over 150,000
 * tokens needs 300,000 blocks of it.
 */
import type { NoiseWords } from '@idlewild/protocol';
import { NOISE_WASM } from './noise-wasm.ts';
import { WASM_PAGE_BYTES, createWasm } from './wasm.ts';

/** Blocks that the kernel computes side by side. */
const LANES = 4;
const BLOCK_BYTES = 16;

interface Exports {
  fill(out: number, blocks: number, position: number, choice: number, low: number, high: number): void;
}

export function createNoiseKernel(): NoiseWords {
  const { memory, exports } = createWasm<Exports>(NOISE_WASM, 1);
  return (blocks, position, choice, low, high) => {
    const padded = Math.ceil(blocks / LANES) * LANES;
    const missing = padded * BLOCK_BYTES - memory.buffer.byteLength;
    if (missing > 0) memory.grow(Math.ceil(missing / WASM_PAGE_BYTES));
    exports.fill(0, padded, position, choice, low, high);
    return new Uint32Array(memory.buffer, 0, blocks * LANES);
  };
}
