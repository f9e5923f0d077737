/**
 * `npm test`: every check of the repository in order, each as a section with its time, and at the end one line,
 * `N passed, N failed`, with `, N skipped` where something was. Exits with 1 when anything failed.
 *
 * Arguments choose: a step's name (types, lint, layout, tidy, unit, sim, e2e) runs that step; anything else goes to
 * vitest as a path or an option, and only the steps that vitest runs are run. A step that compiles, lints or looks
 * at the layout counts as one test, a test file that does not load as one failure.
 *
 * What failed is told again before that line, for nobody looks for it in the middle. Up to `triedAgainMax` files with
 * a failure are run once more, each alone: much of what is tested here is about time, and the machine is busy with
 * the other tests. What then passes counts as passed and is told as `unsteady` (docs/decisions/0037).
 */

import { spawn } from 'node:child_process';
import type { ChildProcess, StdioOptions } from 'node:child_process';
import { existsSync, globSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';

interface Count {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

/** What this reads of vitest's JSON report. */
interface Report {
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages: readonly string[];
    }[];
  }[];
}
type FileReport = Report['testResults'][number];

const root = dirname(import.meta.dirname);
const binary = (name: string): string => join(root, 'node_modules', '.bin', name);
const compilersAtOnce = 2;
const none: Count = { passed: 0, failed: 0, skipped: 0 };
const triedAgainMax = 3;
const children = new Set<ChildProcess>();
/** What is said once more at the end: what failed, and what failed first and passed alone. */
const remarks: string[] = [];

const steps: Readonly<Record<string, (filters: readonly string[]) => Promise<Count>>> = {
  types: checkTypes,
  lint: async () => one((await run(binary('oxlint'), ['--type-aware'])).code === 0),
  layout: async () => one((await run(binary('prettier'), ['--check', '--log-level', 'warn', '.'])).code === 0),
  tidy: () => vitest(['--project', 'unit', 'tidy.test.ts', 'docs/docs.test.ts']),
  unit: (filters) => vitest(['--project', 'unit', ...filters]),
  sim: (filters) => vitest(['--project', 'sim', ...filters]),
  // One after the other: vitest would start both at once.
  e2e: async (filters) =>
    add(await vitest(['--project', 'e2e', ...filters]), await vitest(['--project', 'e2e-timed', ...filters])),
};

for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => {
    for (const child of children) child.kill(signal);
    process.exit(signal === 'SIGINT' ? 130 : 143);
  });
}
process.exitCode = await main(process.argv.slice(2));

async function main(words: readonly string[]): Promise<number> {
  const named = words.filter((word) => word in steps);
  const filters = words.filter((word) => !(word in steps));
  // The tidy files belong to the unit step, so a run of everything does not run them twice.
  const everything = filters.length > 0 ? ['unit', 'sim', 'e2e'] : ['types', 'lint', 'layout', 'unit', 'sim', 'e2e'];
  const counts: Count[] = [];
  for (const [name, step] of Object.entries(steps)) {
    if (!(named.length > 0 ? named : everything).includes(name)) continue;
    console.log(`\n── ${name} ${'─'.repeat(60 - name.length)}`);
    const startedMs = Date.now();
    const count = await step(filters);
    console.log(`── ${name}: ${summary(count)} in ${((Date.now() - startedMs) / 1000).toFixed(1)} s`);
    counts.push(count);
  }
  let total = counts.reduce(add, none);
  if (total.passed + total.failed === 0) {
    console.log(`\nno test matches ${filters.join(' ')}`);
    total = add(total, one(false));
  }
  if (remarks.length > 0) console.log(`\n${remarks.join('\n')}`);
  console.log(`\n${summary(total)}`);
  return total.failed > 0 ? 1 : 0;
}

/** Each package twice where it has a core: as the tests see it, and its core without Node's types or the DOM's. */
async function checkTypes(): Promise<Count> {
  const projects = ['tsconfig.json', ...globSync('packages/*/tsconfig{,.core}.json', { cwd: root }).sort()];
  const broken: string[] = [];
  const worker = async (): Promise<void> => {
    for (let project = projects.shift(); project !== undefined; project = projects.shift()) {
      const { code, output } = await run(binary('tsc'), ['--noEmit', '--pretty', 'false', '-p', project], 'pipe');
      if (code === 0) continue;
      broken.push(project);
      console.log(`${project}:\n${output.trimEnd()}`);
    }
  };
  await Promise.all(Array.from({ length: compilersAtOnce }, worker));
  return one(broken.length === 0);
}

async function vitest(options: readonly string[]): Promise<Count> {
  const { count, files } = await vitestOnce(options);
  const broken = files.filter(({ status }) => status === 'failed');
  if (count.failed === 0 || broken.length === 0 || broken.length > triedAgainMax) {
    remarks.push(...broken.flatMap((file) => told('failed', file)));
    return count;
  }
  let total = count;
  const project = options.slice(0, options.indexOf('--project') + 2);
  for (const file of broken) {
    console.log(`\n── once more, alone: ${relative(root, file.name)}`);
    const again = await vitestOnce([...project, relative(root, file.name)]);
    const failedAgain = again.files.filter(({ status }) => status === 'failed');
    remarks.push(
      ...(again.count.failed > 0 ? failedAgain : [file]).flatMap((each) =>
        told(again.count.failed > 0 ? 'failed' : 'unsteady', each),
      ),
    );
    total = add(subtract(total, countFile(file)), again.count);
  }
  return total;
}

async function vitestOnce(options: readonly string[]): Promise<{ count: Count; files: readonly FileReport[] }> {
  const folder = mkdtempSync(join(tmpdir(), 'idlewild-test-'));
  const file = join(folder, 'report.json');
  try {
    const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${file}`];
    const { code } = await run(binary('vitest'), ['run', '--passWithNoTests', ...reporters, ...options]);
    const files = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Report).testResults : [];
    const count = files.map(countFile).reduce(add, none);
    // vitest also fails for what no test owns, such as an error thrown after the last one.
    if (code === 0 || count.failed > 0) return { count, files };
    remarks.push(`failed: something that no test owns, in vitest ${options.join(' ')}; its output stands above`);
    return { count: add(count, one(false)), files };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function countFile({ status, assertionResults }: FileReport): Count {
  const having = (wanted: string): number => assertionResults.filter((result) => result.status === wanted).length;
  const [passed, failed] = [having('passed'), having('failed')];
  const skipped = assertionResults.length - passed - failed;
  return { passed, failed: failed === 0 && status === 'failed' ? 1 : failed, skipped };
}

/** A line for each test of a file that failed, with the first line of what it said. */
function told(word: 'failed' | 'unsteady', { name, message, assertionResults }: FileReport): string[] {
  const line = (test: string, said = ''): string => `${word}: ${relative(root, name)}${test}: ${said.split('\n')[0]}`;
  const broken = assertionResults.filter(({ status }) => status === 'failed');
  if (broken.length === 0) return [line('', message)];
  return broken.map(({ fullName, failureMessages }) => line(` > ${fullName}`, failureMessages[0]));
}

function run(command: string, commandArguments: readonly string[], output: 'inherit' | 'pipe' = 'inherit') {
  const stdio: StdioOptions = ['ignore', output, output];
  return new Promise<{ code: number; output: string }>((resolve, reject) => {
    const child = spawn(command, commandArguments, { cwd: root, stdio });
    children.add(child);
    const chunks: Buffer[] = [];
    for (const stream of [child.stdout, child.stderr]) stream?.on('data', (chunk: Buffer) => chunks.push(chunk));
    child.on('error', reject);
    child.on('close', (code) => {
      children.delete(child);
      resolve({ code: code ?? 1, output: Buffer.concat(chunks).toString('utf8') });
    });
  });
}

function one(good: boolean): Count {
  return { ...none, [good ? 'passed' : 'failed']: 1 };
}

function add(left: Count, right: Count): Count {
  return {
    passed: left.passed + right.passed,
    failed: left.failed + right.failed,
    skipped: left.skipped + right.skipped,
  };
}

function subtract(left: Count, right: Count): Count {
  return add(left, { passed: -right.passed, failed: -right.failed, skipped: -right.skipped });
}

function summary({ passed, failed, skipped }: Count): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}
