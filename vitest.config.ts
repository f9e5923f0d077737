/**
 * Three kinds of tests, by what they need: `unit` nothing but the code, `sim` the whole system on a virtual clock,
 * `e2e` and `e2e-timed` real processes and sockets. Run them through `npm test`, which also counts them, or one alone
 * with `npx vitest run <path>`.
 */

import { defineConfig } from 'vitest/config';

// What a test waits for comes soon, but not on a machine that does other things, too.
const patient = { expect: { poll: { timeout: 30_000 } } };

// No module has state of its own, so files share their worker's modules; whole hubs are loaded once, not 140 times.
const unit = {
  ...patient,
  name: 'unit',
  isolate: false,
  globalSetup: 'packages/hub/src/testing/shared-postgres.ts',
  include: ['packages/**/*.test.ts', 'scripts/**/*.test.ts', 'docs/*.test.ts', 'tidy.test.ts'],
  exclude: ['**/node_modules/**', 'packages/sim/**'],
  testTimeout: 120_000,
  hookTimeout: 120_000,
};

// The fifty worlds of the simulation stand in two files, so that two cores share them.
const sim = {
  ...patient,
  name: 'sim',
  include: ['packages/sim/**/*.test.ts'],
  testTimeout: 300_000,
  hookTimeout: 60_000,
};

// Each of these files starts several processes of its own. They mostly wait, for restarts and timers, so three run at
// a time; those whose claims are about what a busy machine would change have it to themselves.
const timed = ['owner-returns', 'failover', 'many'].map((name) => `test/${name}.test.ts`);
const processes = { ...patient, testTimeout: 300_000, hookTimeout: 300_000, teardownTimeout: 30_000 };
const e2e = {
  ...processes,
  name: 'e2e',
  include: ['test/**/*.test.ts'],
  exclude: timed,
  maxWorkers: 3,
  // vitest wants projects of as many workers in one group.
  sequence: { groupOrder: 1 },
};
const e2eTimed = { name: 'e2e-timed', include: timed, fileParallelism: false, ...processes };

export default defineConfig({
  test: {
    maxWorkers: 2,
    env: { ORT_DISABLE_TELEMETRY: '1' },
    projects: [unit, sim, e2e, e2eTimed].map((test) => ({ test })),
  },
});
