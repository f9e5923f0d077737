/** That a row's logits are the same bits whatever is run beside it, in the real runtime, with all that may vary. */
import {
  computeInInt8,
  cutAtAttention,
  describeDecoder,
  floatEnds,
  liftAttention,
  quantiseMatMul4,
  writeGraph,
  type Graph,
} from '@idlewild/graph';
import { buildExport, buildGenai, createSeededNumbers, halfGraph } from '@idlewild/graph/testing';
import { afterAll, expect, test } from 'vitest';
import type { Decoder, DecoderPart, Kv } from '../core/decoder.ts';
import { createRowDecoder, type RowDecoderOptions } from '../core/row-decoder.ts';
import { openOrtSession } from './ort-session.ts';

const shape = { vocab: 320, width: 128, layers: 2, heads: 4, kvHeads: 2, feedForward: 192, context: 256 };
const closing: (() => unknown)[] = [];
afterAll(async () => {
  for (const close of closing) await close();
});

async function open(graph: Graph, threads: number, over: Partial<RowDecoderOptions> = {}): Promise<Decoder> {
  const lifted = liftAttention(graph);
  const segments = [];
  for (const segment of cutAtAttention(lifted))
    segments.push({ ...segment, session: await openOrtSession(writeGraph(floatEnds(segment.graph)), { threads }) });
  const { kvHeads, headDim } = describeDecoder(graph);
  const fixed = { contextTokens: shape.context, cacheBytesMax: 50_000_000, rowsMin: 1 };
  const decoder = await createRowDecoder({ ...fixed, ...lifted, segments, kvHeads, headDim, ...over });
  closing.push(() => decoder.close());
  return decoder;
}

interface Reading {
  readonly kv: Kv;
  readonly ids: readonly number[];
  /** By position, of rows whose logits were asked for. */
  readonly logits: Map<number, Float32Array>;
}

const reading = (decoder: Decoder, ids: readonly number[]): Reading => ({ kv: decoder.open(), ids, logits: new Map() });

/** Runs the next rows of each in one run: `rows` says of how many; 0 leaves one out. */
async function step(decoder: Decoder, readings: readonly Reading[], rows: (reading: Reading) => number): Promise<void> {
  const taking = readings.flatMap((each) => {
    const count = Math.min(rows(each), each.ids.length - each.kv.length);
    return count > 0 ? [{ each, count }] : [];
  });
  const parts = taking.map(({ each: { kv, ids }, count }): DecoderPart => {
    const from = kv.length;
    expect(decoder.reserve(kv, from + count)).toBe(true);
    return { kv, ids: ids.slice(from, from + count), from, before: ids[from - 1], logitRows: 1 };
  });
  const given = await decoder.run(parts);
  for (const [i, { each }] of taking.entries()) {
    const { from, ids } = parts[i]!;
    each.logits.set(from + ids.length - 1, given[i]![0]!.slice());
  }
}

const texts = (counts: readonly number[], seed: number): number[][] => {
  const numbers = createSeededNumbers(seed);
  return counts.map((count) => Array.from({ length: count }, () => numbers.below(shape.vocab)));
};

/** Logits of every position, read one row at a time and alone. */
async function alone(decoder: Decoder, ids: readonly number[]): Promise<Map<number, Float32Array>> {
  const one = reading(decoder, ids);
  while (one.kv.length < ids.length) await step(decoder, [one], () => 1);
  decoder.release(one.kv);
  return one.logits;
}

const wide = (from: typeof shape): Graph => buildExport(from, { scale: 'roots' }, 3);
const quantised = (graph: Graph): Graph => computeInInt8(quantiseMatMul4(graph, { block: 32, symmetric: true }));

test.for([
  ['f32', (): Graph => wide(shape)],
  ['4-bit weights in int8', (): Graph => quantised(wide(shape))],
  ['16 bits', (): Graph => halfGraph(buildGenai(shape, { packed: true }, 3))],
  ['a window', (): Graph => buildGenai(shape, { window: 30 }, 3)],
] as const)(
  '%s: rows of many sequences, in chunks of any size, on any threads',
  { timeout: 120_000 },
  async ([, build]) => {
    const ids = texts([90, 41, 64, 7, 130, 33], 11);
    const graph = build();
    const first = await open(graph, 1);
    const wanted = [];
    for (const own of ids) wanted.push(await alone(first, own));
    for (const threads of [1, 2, 4]) {
      const decoder = await open(graph, threads);
      const numbers = createSeededNumbers(threads);
      for (const rows of [() => 1, () => 5, () => numbers.below(4), () => numbers.below(60)]) {
        const readings = ids.map((own) => reading(decoder, own));
        while (readings.some(({ kv, ids: own }) => kv.length < own.length)) await step(decoder, readings, rows);
        for (const [i, { logits, kv }] of readings.entries()) {
          for (const [position, got] of logits) expect(got).toEqual(wanted[i]!.get(position));
          decoder.release(kv);
        }
      }
      expect(decoder.usedBytes()).toBe(0);
    }
  },
);

test('a fork goes on as the one it came from would, and neither changes the other', { timeout: 60_000 }, async () => {
  const decoder = await open(wide(shape), 1);
  const [ids, other] = texts([120, 120], 5) as [number[], number[]];
  const mixed = [...ids.slice(0, 70), ...other.slice(70)];
  const wanted = await alone(decoder, ids);
  const wantedMixed = await alone(decoder, mixed);
  const one = reading(decoder, ids);
  await step(decoder, [one], () => 100);
  const two = { ...reading(decoder, mixed), kv: decoder.fork(one.kv, 70)! };
  const three = { ...reading(decoder, ids), kv: decoder.fork(one.kv, 96)! };
  // Back into what the third shares.
  const back = { kv: one.kv, ids: mixed.slice(50), from: 50, before: mixed[49], logitRows: 1 };
  expect((await decoder.run([back]))[0]).toEqual([wantedMixed.get(119)]);
  await step(decoder, [two, three], () => 9);
  await step(decoder, [two, three], () => 50);
  expect(three.logits.get(119)).toEqual(wanted.get(119));
  expect(two.logits.get(119)).toEqual(wantedMixed.get(119));
  for (const { kv } of [one, two, three]) decoder.release(kv);
  expect(decoder.usedBytes()).toBe(0);
});

test('rows whose logits are not wanted are computed all the same', async () => {
  const decoder = await open(wide(shape), 1);
  const [ids] = texts([60], 2) as [number[]];
  const wanted = await alone(decoder, ids);
  const [kv, beside] = [decoder.open(), decoder.open()];
  for (const own of [kv, beside]) expect(decoder.reserve(own, ids.length)).toBe(true);
  const part = (own: Kv, from: number, until: number, logitRows: number): DecoderPart => ({
    ...{ kv: own, ids: ids.slice(from, until), from, before: ids[from - 1], logitRows },
  });
  expect(await decoder.run([part(kv, 0, 40, 0), part(beside, 0, 20, 0)])).toEqual([[], []]);
  const [nothing, logits] = await decoder.run([part(beside, 20, 31, 0), part(kv, 40, 60, 1)]);
  expect(nothing).toEqual([]);
  expect(logits).toEqual([wanted.get(59)]);
});

test('logits of many rows at once are those of each alone, and what is trimmed is run anew', async () => {
  for (const graph of [wide(shape), quantised(wide(shape)), buildExport(shape, { family: 'gpt2' }, 3)]) {
    const decoder = await open(graph, 1);
    const [ids, other] = texts([60, 60], 4) as [number[], number[]];
    const [wanted, beside] = [await alone(decoder, ids), await alone(decoder, other)];
    const [kv, second] = [decoder.open(), decoder.open()];
    for (const own of [kv, second]) decoder.reserve(own, 60);
    const part = (own: Kv, of: readonly number[], from: number, logitRows: number): DecoderPart => ({
      ...{ kv: own, ids: of.slice(from), from, before: of[from - 1], logitRows },
    });
    await decoder.run([part(kv, ids.slice(0, 20), 0, 0)]);
    // Guesses behind position 29 that are another's.
    const guessed = [...ids.slice(0, 30), ...other.slice(30, 60)];
    const [first, nothing] = await decoder.run([part(kv, guessed, 20, 40), part(second, other.slice(0, 25), 0, 0)]);
    expect(nothing).toEqual([]);
    for (let row = 0; row < 10; row++) expect(first?.[row]).toEqual(wanted.get(20 + row));
    decoder.trim(kv, 30);
    expect(kv.length).toBe(30);
    expect(decoder.reserve(kv, 60)).toBe(true);
    const [rest, theirs] = await decoder.run([part(kv, ids, 30, 30), part(second, other, 25, 3)]);
    for (let row = 0; row < 30; row++) expect(rest?.[row]).toEqual(wanted.get(30 + row));
    for (let row = 0; row < 3; row++) expect(theirs?.[row]).toEqual(beside.get(57 + row));
  }
});

test('of a prompt the head is computed for its last row only, however an exporter reshapes', async () => {
  const heads: number[] = [];
  for (const graph of [wide(shape), buildExport(shape, { family: 'gpt2' }, 3), buildGenai(shape, {}, 3)]) {
    const lifted = liftAttention(graph);
    const segments = [];
    for (const segment of cutAtAttention(lifted)) {
      const session = await openOrtSession(writeGraph(segment.graph), { threads: 1 });
      const run: typeof session.run = async (feeds, wanted) => {
        const outputs = await session.run(feeds, wanted);
        if (outputs['logits'] !== undefined) heads.push(outputs['logits'].dims[1]!);
        return outputs;
      };
      segments.push({ ...segment, session: { ...session, run } });
    }
    const decoder = await open(graph, 1, { segments });
    const [kv, beside] = [decoder.open(), decoder.open()];
    for (const own of [kv, beside]) decoder.reserve(own, 60);
    const [ids] = texts([60], 2) as [number[]];
    const part = (own: Kv): DecoderPart => ({ kv: own, ids, from: 0, before: undefined, logitRows: 1 });
    await decoder.run([part(kv), part(beside)]);
  }
  expect(heads).toEqual([2, 2, 2]);
});

test('room is refused where the memory allowed ends, and comes back', async () => {
  const decoder = await open(wide(shape), 1, { cacheBytesMax: 200_000 });
  const positions = Math.floor(200_000 / decoder.bytesPerPosition / 32) * 32;
  const [first, second] = [decoder.open(), decoder.open()];
  expect(decoder.reserve(first, positions)).toBe(true);
  expect(decoder.reserve(second, 1)).toBe(false);
  expect(decoder.fork(first, 5)).toBeDefined();
  decoder.release(first);
  expect(decoder.reserve(second, positions)).toBe(true);
  expect(decoder.usedBytes()).toBeLessThanOrEqual(200_000);
});
