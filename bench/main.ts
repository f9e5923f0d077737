/**
 * `npm run bench -- gateway [--json] [--only METRIC,…]`: measures, prints, ends.
 *
 * With --json stdout carries one array of rows and nothing else; progress goes to stderr. A value that misses its
 * target is printed like any other and changes nothing about the exit code; a metric without a value does: 1.
 */
import { parseArgs } from 'node:util';
import { createRows, type Bench, type Row } from './bench.ts';
import { gateway } from './gateway/gateway.ts';
import { lender } from './lender/lender.ts';
import { people } from './people/people.ts';
import { replicas } from './replicas/replicas.ts';
import { serve } from './serve/serve.ts';

const benches: Readonly<Record<string, Bench>> = { gateway, lender, people, replicas, serve };

const BENCH_MS_MAX = 1_200_000;
const INTERRUPTED = 130;

interface Options {
  readonly bench: Bench;
  readonly only: readonly string[];
  readonly json: boolean;
  readonly threads: number;
  readonly profileFolder: string | undefined;
}

const usage = `usage: npm run bench -- ${Object.keys(benches).join('|')} [options]
  --json           one array of rows on stdout and nothing else
  --only A,B       only these metrics
  --threads N      threads of an engine's run, on both sides of every comparison (1)
  --profile DIR    leave CPU profiles of hub and devices in DIR`;

function readOptions(): Options {
  const { positionals, values } = parseArgs({
    allowPositionals: true,
    options: {
      json: { type: 'boolean', default: false },
      only: { type: 'string', default: '' },
      threads: { type: 'string', default: '1' },
      profile: { type: 'string' },
    },
  });
  const name = positionals.join(' ');
  const bench = Object.hasOwn(benches, name) ? benches[name] : undefined;
  if (bench === undefined) throw new Error(`there is no bench '${name}'`);
  const only = values.only.split(',').filter((name) => name !== '');
  const known = bench.metrics.map(({ metric }) => metric);
  const unknown = only.find((metric) => !known.includes(metric));
  if (unknown !== undefined) throw new Error(`there is no metric '${unknown}'; there are ${known.join(', ')}`);
  const threads = Number(values.threads);
  if (!Number.isInteger(threads) || threads < 1) throw new Error('--threads must be a number from 1');
  return { bench, only, json: values.json, threads, profileFolder: values.profile };
}

async function main(): Promise<number> {
  let options: Options;
  try {
    options = readOptions();
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n${usage}\n`);
    return 2;
  }
  // Processes that were started hold on to this one's pipes and end with it; leaving is enough.
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.once(signal, () => process.exit(INTERRUPTED));
  // One for each process of a world.
  process.setMaxListeners(64);
  const { bench, json, ...context } = options;
  const startedMs = performance.now();
  const say = (line: string): void => {
    process.stderr.write(`${((performance.now() - startedMs) / 1_000).toFixed(0).padStart(4)} s  ${line}\n`);
  };
  const deadline = new AbortController();
  const late = new Error(`the bench took longer than ${BENCH_MS_MAX / 60_000} minutes`);
  const timer = setTimeout(() => deadline.abort(late), BENCH_MS_MAX);
  const rows = createRows(bench, { ...context, say, signal: deadline.signal });
  await bench.run(rows.run);
  clearTimeout(timer);
  const all = rows.all();
  process.stdout.write(json ? `${JSON.stringify(all, undefined, 2)}\n` : `${tableOf(all)}\n\n${bench.measured}\n`);
  return all.some(({ value }) => value === null) ? 1 : 0;
}

function tableOf(rows: readonly Row[]): string {
  const number = (value: number | null): string => (value === null ? '-' : String(Number(value.toPrecision(4))));
  const head = ['metric', 'value', 'target', 'unit', ''];
  const verdict = ({ value, met, target }: Row): string =>
    value === null ? 'MISSING' : !met ? 'MISSED' : target === null ? 'told' : 'met';
  const cells = rows.map((row) => [row.metric, number(row.value), number(row.target), row.unit, verdict(row)]);
  const widths = head.map((title, column) => Math.max(title.length, ...cells.map((line) => line[column]?.length ?? 0)));
  const line = (fields: readonly string[]): string =>
    fields
      .map((field, column) => field.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd();
  const linesOf = (row: Row, index: number): string[] => [
    line(cells[index] ?? []),
    `    against ${row.against}`,
    `    ${row.note}`,
  ];
  return [line(head), ...rows.flatMap(linesOf)].join('\n');
}

process.exitCode = await main();
// What a bench leaves open (a socket, a pipe of an engine) must not keep it alive.
process.exit();
