/** AssemblyScript to WebAssembly, and the module of ours that carries it. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { main } from 'assemblyscript/asc';

const OPTIONS = '-O3 --noAssert --runtime stub --enable simd --importMemory --noExportMemory --outFile kernel.wasm';

/** By the names of their sources, without `.as.ts`. */
export const KERNELS = ['attention', 'noise'] as const;
export type KernelName = (typeof KERNELS)[number];

/** The compiled kernel. Throws what the compiler says of it. */
export async function compileKernel(name: KernelName): Promise<Uint8Array> {
  const file = `${name}.as.ts`;
  let wasm: Uint8Array | undefined;
  const said: string[] = [];
  const { error } = await main([file, ...OPTIONS.split(' ')], {
    stderr: { write: (text: string | Uint8Array) => said.push(String(text)) > 0 },
    readFile: (path) => (path === file ? readFileSync(join(import.meta.dirname, file), 'utf8') : null),
    writeFile: (_, contents) => {
      if (contents instanceof Uint8Array) wasm = contents;
    },
    listFiles: () => [],
  });
  if (error !== null || wasm === undefined) throw new Error(`${file}: ${error?.message ?? ''}\n${said.join('')}`);
  return wasm;
}

const LINE = 112;

/** Source of a module that exports the kernel's bytes. */
export function kernelModule(name: KernelName, wasm: Uint8Array): string {
  const text = Buffer.from(wasm).toString('hex');
  const lines = Array.from({ length: Math.ceil(text.length / LINE) }, (_, i) => text.slice(i * LINE, (i + 1) * LINE));
  return `/** The ${name} kernel, compiled from kernels/${name}.as.ts by kernels/build.ts; not written by hand. */
import { fromHex } from '@idlewild/protocol';

export const ${name.toUpperCase()}_WASM: Uint8Array = fromHex(
  [
${lines.map((line) => `    '${line}',`).join('\n')}
  ].join(''),
);
`;
}
