/**
 * Compiles the kernels: `npm run kernels -w packages/engine`. The results are kept in the repository, so that only who
 * changes a kernel needs the compiler; a test holds them to their sources.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { KERNELS, compileKernel, kernelModule } from './compile.ts';

for (const name of KERNELS) {
  const target = join(import.meta.dirname, '..', 'src', 'core', `${name}-wasm.ts`);
  writeFileSync(target, kernelModule(name, await compileKernel(name)));
}
