/**
 * Every kind of decoder that exporters write, with random weights: cut where it can be, whole where not, and the same
 * logits as the graph itself gives in the runtime.
 */
import {
  describeDecoder,
  floatEnds,
  quantiseMatMul4,
  trimmablePast,
  writeGraph,
  PAST_KEEP,
  type Graph,
} from '@idlewild/graph';
import { buildExport, buildGenai, halfGraph, type ExportStyle, type GenaiStyle } from '@idlewild/graph/testing';
import { expect, test } from 'vitest';
import type { Decoder } from '../core/decoder.ts';
import { probeTokens } from '../core/exactness.ts';
import { floatsOfTensor, type GraphTensor } from '../core/session.ts';
import { openDecoder, type OpenedDecoder } from './open-decoder.ts';
import { openOrtSession } from './ort-session.ts';

const shape = { vocab: 300, width: 64, layers: 2, heads: 4, kvHeads: 2, feedForward: 96, context: 96 };
const ungrouped = { ...shape, kvHeads: 4 };
const quantised = (graph: Graph): Graph => quantiseMatMul4(graph, { block: 32, symmetric: true });

const exported = (style: ExportStyle, from = shape): Graph => buildExport(from, style, 5);
const genai = (style: GenaiStyle, from = shape): Graph => buildGenai(from, style, 5);

const open = (graph: Graph, contextTokens = shape.context, threads = 1): Promise<OpenedDecoder> =>
  openDecoder(graph, {
    shape: describeDecoder(graph),
    contextTokens,
    threads,
    attentionHeads: shape.heads,
    sideFolder: '.',
    cacheBytesMax: 50_000_000,
  });

/** Logits of the last of `ids`, read in pieces that end at `cuts`. */
async function read(decoder: Decoder, ids: readonly number[], cuts: readonly number[] = []): Promise<Float32Array> {
  const kv = decoder.open();
  expect(decoder.reserve(kv, ids.length)).toBe(true);
  let logits: Float32Array | undefined;
  let from = 0;
  for (const until of [...cuts, ids.length]) {
    const part = {
      kv,
      ids: ids.slice(from, until),
      from,
      before: ids[from - 1],
      logitRows: until === ids.length ? 1 : 0,
    };
    logits = (await decoder.run([part]))[0]?.[0]?.slice();
    from = until;
  }
  decoder.release(kv);
  return logits as Float32Array;
}

/** What the runtime makes of the graph as it is, all rows at once. */
async function reference(graph: Graph, ids: readonly number[]): Promise<Float32Array> {
  const whole = floatEnds(trimmablePast(graph));
  const { pastNames, kvHeads, headDim, hasPositionIds } = describeDecoder(whole);
  const session = await openOrtSession(writeGraph(whole), { threads: 1 });
  const int64 = (values: readonly number[]): GraphTensor =>
    session.tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
  const nothing = session.tensor('float32', new Float32Array(0), [1, kvHeads, 0, headDim]);
  const outputs = await session.run(
    {
      input_ids: int64(ids),
      attention_mask: int64(ids.map(() => 1)),
      ...(hasPositionIds && { position_ids: int64(ids.map((_, i) => i)) }),
      [PAST_KEEP]: session.tensor('int64', BigInt64Array.of(0n), [1]),
      ...Object.fromEntries(pastNames.map((name) => [name, nothing])),
    },
    ['logits'],
  );
  const logits = outputs['logits'] as GraphTensor;
  const vocabulary = logits.dims[2] as number;
  const row = floatsOfTensor(logits, (ids.length - 1) * vocabulary, vocabulary).slice();
  await session.close();
  return row;
}

/** The largest difference, of what the wanted logits spread over. */
function apart(got: Float32Array, wanted: Float32Array): number {
  const spread = Math.max(...wanted) - Math.min(...wanted);
  return Math.max(...wanted.map((value, i) => Math.abs(value - (got[i] as number)))) / spread;
}

interface Case {
  readonly name: string;
  readonly graph: () => Graph;
  /** Why it runs whole. */
  readonly whole?: RegExp;
  /** Whether what a row gives depends on nothing but its own text; true by default. */
  readonly exact?: boolean;
  /** Beyond rounding in 32 bits. */
  readonly differenceMax?: number;
}

const HALF = 0.02;
/** Two ways of rounding the left side of a product to int8. */
const INT8 = 0.05;

const CASES: readonly Case[] = [
  { name: 'plain operators', graph: () => exported({}) },
  { name: 'scaled by roots, guarded', graph: () => exported({ scale: 'roots', guard: true }) },
  { name: 'a mask that chooses', graph: () => exported({ mask: 'where' }) },
  { name: 'one product for query, key and value', graph: () => exported({ packed: true }, ungrouped) },
  { name: 'tied embeddings, wide heads', graph: () => exported({ tied: true, headWidth: 32 }) },
  { name: 'positions that follow the cache', graph: () => exported({ positions: 'past' }) },
  { name: 'positions counted in the mask', graph: () => exported({ positions: 'mask', scale: 'roots' }) },
  { name: 'a table of positions cut to length', graph: () => exported({ rotary: 'table' }) },
  { name: 'both of these', graph: () => exported({ rotary: 'table', positions: 'past' }) },
  { name: 'GPT-2', graph: () => exported({ family: 'gpt2', packed: true, tied: true }, ungrouped) },
  {
    name: 'GPT-2 without position_ids',
    graph: () => exported({ family: 'gpt2', packed: true, positions: 'past', mask: 'where' }, ungrouped),
  },
  { name: 'plain operators in 16 bits', graph: () => halfGraph(exported({})), differenceMax: HALF },
  { name: '4-bit weights', graph: () => quantised(exported({ scale: 'roots' })), differenceMax: INT8 },
  {
    name: '4-bit weights, 16 bits between',
    graph: () => halfGraph(quantised(exported({ positions: 'mask' }))),
    differenceMax: INT8,
  },
  { name: 'GenAI', graph: () => genai({}) },
  {
    name: 'GenAI, interleaved, a part of each head turned',
    graph: () => genai({ interleaved: true, turned: 16, headWidth: 32 }),
  },
  { name: 'GenAI, packed', graph: () => genai({ packed: true }) },
  { name: 'GenAI, turned before', graph: () => genai({ rotary: 'before', interleaved: true }) },
  { name: 'GenAI, no rotary positions', graph: () => genai({ rotary: 'none', headWidth: 32 }) },
  { name: 'GenAI, a window', graph: () => genai({ window: 20 }) },
  { name: 'GenAI in 16 bits', graph: () => halfGraph(genai({ packed: true })), differenceMax: HALF },
  { name: 'GenAI, 4-bit weights', graph: () => quantised(genai({})), differenceMax: INT8 },
  { name: 'GenAI, 4-bit weights, 16 bits between', graph: () => halfGraph(quantised(genai({}))), differenceMax: INT8 },
  { name: 'MultiHeadAttention', graph: () => genai({ attention: 'multi', rotary: 'before' }, ungrouped) },
  { name: 'Attention of ONNX', graph: () => exported({ family: 'gpt2', operator: true }, ungrouped) },
  { name: 'Attention of ONNX, grouped', graph: () => exported({ family: 'gpt2', operator: true }) },
  {
    name: 'Attention of ONNX, a window',
    graph: () => exported({ family: 'gpt2', operator: true, window: 80 }, ungrouped),
    whole: /is not that of plain causal/,
  },
  { name: 'a window within 24 rows', graph: () => exported({ window: 7 }), whole: /is not that of plain causal/ },
  { name: 'a window beyond 24 rows', graph: () => exported({ window: 80 }), whole: /at position 95/ },
  { name: 'a slope', graph: () => exported({ slope: 0.1 }), whole: /is not that of plain causal/ },
  { name: 'capped scores', graph: () => exported({ cap: 2 }), whole: /leads to Tanh/ },
  {
    name: 'stretched positions',
    graph: () => exported({ stretchedBeyond: 40 }),
    whole: /positions of all rows/,
    exact: false,
  },
  { name: 'GenAI, capped scores', graph: () => genai({ cap: 2 }), whole: /caps, biases or smooths/ },
  {
    name: 'MultiHeadAttention, a window',
    graph: () => genai({ attention: 'multi', window: 80, rotary: 'before' }, ungrouped),
    whole: /is not that of plain causal/,
  },
  {
    name: 'in 16 bits, a slope',
    graph: () => halfGraph(exported({ slope: 0.1 })),
    whole: /plain causal/,
    differenceMax: HALF,
  },
];

test.for(CASES)('$name', { timeout: 60_000 }, async ({ graph: build, whole, exact = true, differenceMax = 1e-4 }) => {
  const graph = build();
  const opened = await open(graph);
  if (whole === undefined) expect(opened.whole).toBeUndefined();
  else expect(opened.whole).toMatch(whole);
  expect(opened.exact).toBe(exact);
  const { decoder } = opened;
  for (const length of [1, 2, 33, shape.context]) {
    const ids = probeTokens(length, shape.vocab);
    const logits = await read(decoder, ids);
    expect(apart(logits, await reference(graph, ids))).toBeLessThan(differenceMax);
    if (!exact) continue;
    for (const cuts of [[length >> 1], [length - 1], [1, 2, 31]]) {
      const within = cuts.filter((cut) => cut > 0 && cut < length);
      expect(await read(decoder, ids, within)).toEqual(logits);
    }
  }
  await decoder.close();
});
