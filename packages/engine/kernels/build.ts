/**
 * Compiles the kernels: `node packages/engine/kernels/build.ts`. The result is kept in the repository, so that only who
 * changes a kernel needs the compiler; a test holds it to the source.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { compileKernel, kernelModule } from './compile.ts';

const target = join(import.meta.dirname, '..', 'src', 'core', 'attention-wasm.ts');
writeFileSync(target, kernelModule(await compileKernel('attention.as.ts')));
