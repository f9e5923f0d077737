/**
 * Real graphs, changed by chance: whatever comes of it is refused with a reason, or is a graph that holds by the
 * checker's rules once more when it is written and read. Never a crash, never a wait, never memory out of proportion.
 *
 * Bytes are changed blindly, and fields of the message knowingly: names, numbers, sizes, counts, parts left out,
 * doubled, and put elsewhere. A seed that fails is in the message.
 */
import { codeOf } from '@idlewild/protocol';
import { expect, test } from 'vitest';

import { checkGraph } from './check.ts';
import { externalise } from './externalise.ts';
import { decodeMessage, encodeMessage } from './protobuf.ts';
import { quantiseMatMul4 } from './quantise.ts';
import { readGraph } from './read.ts';
import { buildExport } from './testing/build-export.ts';
import { buildGenai } from './testing/build-genai.ts';
import { createSeededNumbers, type SeededNumbers } from './testing/seeds.ts';
import { writeGraph } from './write.ts';

const SEEDS = 1_500;
/** Of a processor. A good graph of this size takes 5 ms; the rest is for what else this process does meanwhile. */
const MS_MAX = 2_000;
const MEMORY_BYTES_MAX = 400_000_000;

const shape = { vocab: 64, width: 32, layers: 1, heads: 2, kvHeads: 2, feedForward: 32, context: 32 };
const real = [
  buildExport(shape, {}, 1),
  buildExport(shape, { family: 'gpt2', positions: 'past' }, 2),
  quantiseMatMul4(buildGenai(shape, {}, 3), { block: 32, symmetric: false }),
].flatMap((graph) => {
  const moved = externalise(graph);
  const files = new Map([['weights.bin', moved.bytes]]);
  return [
    { bytes: writeGraph(graph), files },
    { bytes: writeGraph(moved.graph), files },
  ];
});

type Outcome = 'passed' | 'model_refused' | 'model_invalid' | 'model_unsupported';

function outcome(bytes: Uint8Array, files: ReadonlyMap<string, number>): Outcome {
  try {
    const graph = readGraph(bytes);
    checkGraph(graph, { files });
    // What the runtime gets is what we write: it has to mean the same to whoever reads it.
    checkGraph(readGraph(writeGraph(graph)), { files });
    return 'passed';
  } catch (error) {
    const code = codeOf(error);
    if (code === 'model_refused' || code === 'model_invalid' || code === 'model_unsupported') return code;
    throw error;
  }
}

function changeBytes(bytes: Uint8Array, numbers: SeededNumbers): Uint8Array {
  const changed = bytes.slice(0, numbers.below(4) === 0 ? numbers.below(bytes.length) : bytes.length);
  for (let i = 0; i <= numbers.below(8); i++) changed[numbers.below(changed.length || 1)] = numbers.below(256);
  return changed;
}

const TEXTS = [
  '',
  'x',
  '..',
  '/etc/passwd',
  '__proto__',
  'constructor',
  'com.microsoft',
  'Loop',
  '\0',
  'w'.repeat(3_000),
];
const NUMBERS = [0, 1, -1, 3, 2 ** 31, 2 ** 31 - 1, 2 ** 40, 2 ** 53 - 1, 2n ** 63n - 1n, -(2n ** 63n)];

type Loose = Record<string, unknown>;
const isLoose = (value: unknown): value is Loose =>
  typeof value === 'object' && value !== null && !ArrayBuffer.isView(value) && !Array.isArray(value);

/** Walks down at random, and changes what it comes to. */
function changeField(message: Loose, numbers: SeededNumbers): void {
  const names = Object.keys(message).filter((name) => name !== 'unknown');
  const name = names[numbers.below(names.length || 1)];
  if (name === undefined) return;
  const value = message[name];
  const list = Array.isArray(value) ? value : undefined;
  const inner = list === undefined ? value : list[numbers.below(list.length || 1)];
  if (isLoose(inner) && numbers.below(8) > 0) return changeField(inner, numbers);
  if (list === undefined) {
    message[name] = changed(value, numbers);
    return;
  }
  if (list.length === 0) return;
  const at = numbers.below(list.length);
  const kinds = [
    () => list.splice(at, 1),
    () => list.splice(at, 0, ...list.slice(at, at + 1 + numbers.below(4))),
    () => (list[at] = changed(list[at], numbers)),
    () => list.push(list.shift()),
    () => (isLoose(list[at]) ? (list[at] = { ...list[at], ...list[numbers.below(list.length)] }) : undefined),
  ];
  kinds[numbers.below(kinds.length)]?.();
}

function changed(value: unknown, numbers: SeededNumbers): unknown {
  if (typeof value === 'string') return TEXTS[numbers.below(TEXTS.length)];
  if (typeof value === 'number' || typeof value === 'bigint') return NUMBERS[numbers.below(NUMBERS.length)];
  if (value instanceof Uint8Array) return value.slice(0, numbers.below(value.length + 1));
  return value;
}

function changeFields(bytes: Uint8Array, numbers: SeededNumbers): Uint8Array {
  const model = decodeMessage('Model', bytes);
  for (let i = 0; i <= numbers.below(4); i++) changeField(model, numbers);
  return Buffer.concat(encodeMessage('Model', model).chunks);
}

test('graphs changed by chance are refused or harmless, in bounded time and memory', { timeout: 120_000 }, () => {
  const seen = new Map<Outcome, number>();
  const before = process.memoryUsage.rss();
  let slowestMs = 0;
  for (let seed = 0; seed < SEEDS; seed++) {
    const numbers = createSeededNumbers(seed);
    const { bytes, files } = real[numbers.below(real.length)] as (typeof real)[number];
    const from = process.cpuUsage();
    let end: Outcome;
    try {
      end = outcome(seed % 2 === 0 ? changeFields(bytes, numbers) : changeBytes(bytes, numbers), files);
    } catch (error) {
      throw new Error(`seed ${seed}: ${(error as Error).message}`, { cause: error });
    }
    seen.set(end, (seen.get(end) ?? 0) + 1);
    const { user, system } = process.cpuUsage(from);
    slowestMs = Math.max(slowestMs, (user + system) / 1_000);
  }
  expect(real.map(({ bytes, files }) => outcome(bytes, files))).toEqual(real.map(() => 'passed'));
  expect(slowestMs).toBeLessThan(MS_MAX);
  expect(process.memoryUsage.rss() - before).toBeLessThan(MEMORY_BYTES_MAX);
  // Changes that hit something, of each kind: else this would try nothing.
  expect(seen.get('model_refused') ?? 0).toBeGreaterThan(SEEDS / 10);
  expect(seen.get('model_invalid') ?? 0).toBeGreaterThan(SEEDS / 20);
  expect(seen.get('passed') ?? 0).toBeGreaterThan(SEEDS / 20);
});
