import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { KERNELS, compileKernel, kernelModule } from './compile.ts';

test.for(KERNELS)('the kept %s kernel is what its source compiles to', { timeout: 60_000 }, async (name) => {
  const kept = readFileSync(join(import.meta.dirname, `../src/core/${name}-wasm.ts`), 'utf8');
  expect(kernelModule(name, await compileKernel(name))).toBe(kept);
});
