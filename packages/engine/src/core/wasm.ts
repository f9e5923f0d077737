/** WebAssembly, as far as kernels use it; the types that core code is compiled with do not have it. */

interface WebAssemblyApi {
  readonly Memory: new (descriptor: { initial: number; maximum: number }) => WasmMemory;
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object, imports: object) => { readonly exports: object };
}

export interface WasmMemory {
  /** Another one after each `grow`. */
  readonly buffer: ArrayBuffer;
  /** Throws a `RangeError` when there is no more. */
  grow(pages: number): number;
}

export const WASM_PAGE_BYTES = 65_536;
/** A 32-bit memory ends at 2³²; one page less keeps every address below. */
export const WASM_PAGES_MAX = 65_535;

/** A kernel over memory of its own, of `pages` pages at first. */
export function createWasm<Exports>(wasm: Uint8Array, pages: number): { memory: WasmMemory; exports: Exports } {
  const { WebAssembly } = globalThis as unknown as { WebAssembly: WebAssemblyApi };
  const memory = new WebAssembly.Memory({ initial: pages, maximum: WASM_PAGES_MAX });
  const { exports } = new WebAssembly.Instance(new WebAssembly.Module(wasm), { env: { memory } });
  return { memory, exports: exports as Exports };
}
