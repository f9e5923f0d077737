/**
 * Runs one seed, or several one after the other, and says what happened:
 *   node packages/sim/src/main.ts --seed N [--seeds COUNT] [--devices 200] [--minutes 2] [--replicas 1]
 *      [--neighbours 0] [--sealed 0] [--members 0] [--trace]
 * Exits with 1 when an invariant was broken.
 */
import { parseArgs } from 'node:util';
import { realMs } from './node/platform.ts';
import { simulate, type Report } from './run.ts';

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    devices: { type: 'string', default: '200' },
    minutes: { type: 'string', default: '2' },
    replicas: { type: 'string', default: '1' },
    neighbours: { type: 'string', default: '0' },
    sealed: { type: 'string', default: '0' },
    members: { type: 'string', default: '0' },
    trace: { type: 'boolean', default: false },
  },
});

let broken = 0;
for (let seed = Number(values.seed); seed < Number(values.seed) + Number(values.seeds); seed++) {
  const startedMs = realMs();
  const report = await simulate({
    seed,
    devices: Number(values.devices),
    virtualMinutes: Number(values.minutes),
    replicas: Number(values.replicas),
    neighbours: Number(values.neighbours),
    sealed: Number(values.sealed),
    members: Number(values.members),
    traceLinesMax: values.trace ? Number.MAX_SAFE_INTEGER : 0,
  });
  if (values.trace) process.stdout.write(report.trace.join(''));
  process.stdout.write(textOf(report, realMs() - startedMs));
  broken += report.violations.length;
}
process.exitCode = broken > 0 ? 1 : 0;

function textOf({ seed, devices, virtualMs, hash, violations, figures, faults }: Report, tookMs: number): string {
  const { ends, ...counts } = figures;
  const list = (of: Readonly<{ [name: string]: number }>): string =>
    Object.entries(of)
      .map(([name, count]) => `${name} ${count}`)
      .join(', ');
  const seconds = (ms: number, digits: number): string => `${(ms / 1_000).toFixed(digits)} s`;
  return [
    `seed ${seed}: ${devices} devices, ${seconds(virtualMs, 0)} in ${seconds(tookMs, 1)}, ${hash.slice(0, 16)}`,
    `  ${list(counts)}`,
    `  ends: ${list(ends)}`,
    `  faults: ${list(faults)}`,
    ...violations.map(({ invariant, atMs, what }) => `  BROKEN ${invariant} at ${seconds(atMs, 3)}: ${what}`),
    '',
  ].join('\n');
}
