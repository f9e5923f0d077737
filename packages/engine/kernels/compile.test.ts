import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { compileKernel, kernelModule } from './compile.ts';

test('the kept kernel is what its source compiles to', { timeout: 60_000 }, async () => {
  const kept = readFileSync(join(import.meta.dirname, '../src/core/attention-wasm.ts'), 'utf8');
  expect(kernelModule(await compileKernel('attention.as.ts'))).toBe(kept);
});
