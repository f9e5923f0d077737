/** What the tests ask of a seed: that nothing is broken; and what to do when something is. */
import type { Report } from './run.ts';

/** One line for each broken invariant, and how to see it again; empty when all hold. */
export function complaints(report: Report): string {
  const { seed, devices, replicas, members, sealed, virtualMinutes, violations, trace } = report;
  if (violations.length === 0) return '';
  return [
    ...violations.map(({ invariant, atMs, what }) => `${invariant} at ${(atMs / 1_000).toFixed(3)} s: ${what}`),
    `replay: node packages/sim/src/main.ts --seed ${seed} --devices ${devices} --replicas ${replicas} ` +
      `--members ${members} --sealed ${sealed} --minutes ${virtualMinutes} --trace`,
    `the last of its trace:\n${trace.slice(-40).join('')}`,
  ].join('\n');
}
