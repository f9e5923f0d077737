/**
 * A decoder that runs rows of many sequences side by side: everything but attention in the runtime, cut at the
 * attentions, and attention in a kernel of ours over keys and values in pages.
 *
 * Weights are read once for all rows of a run, so eight answers take little more than one. What a row gives depends on
 * its own sequence only: the runtime treats rows alike and apart, and the kernel adds in an order that positions
 * decide. Keys and values are written where they stay, never copied from step to step. The part after the last
 * attention is run for rows whose logits are wanted, and not at all when none are.
 */
import type { Attention, Segment } from '@idlewild/graph';
import { IdlewildError } from '@idlewild/protocol';
import { createAttentionKernel, type AttentionKernel, type Strides } from './attention-kernel.ts';
import type { Decoder, DecoderPart } from './decoder.ts';
import { createKvPages, type KvPages, type PagedSequence } from './kv-pages.ts';
import { LIMITS } from './limits.ts';
import { floatsOfTensor, type GraphSession, type GraphTensor } from './session.ts';

export interface RowDecoderOptions {
  /** One more than there are attentions, each with the session that runs it. */
  readonly segments: readonly (Pick<Segment, 'inputs' | 'outputs'> & { readonly session: GraphSession })[];
  readonly attentions: readonly Attention[];
  readonly kvHeads: number;
  readonly headDim: number;
  readonly contextTokens: number;
  /** Memory for keys and values of all sequences. */
  readonly cacheBytesMax: number;
  /** Rows that a run of the runtime has at least: where one row alone takes another kernel, two. */
  readonly rowsMin: number;
}

interface RowState extends RowDecoderOptions {
  readonly kernel: AttentionKernel;
  readonly pages: KvPages;
}

/** Throws `engine_failed`, or `model_unsupported` for heads that the kernel does not take. */
export async function createRowDecoder(options: RowDecoderOptions): Promise<Decoder> {
  const { contextTokens, kvHeads, headDim, attentions, cacheBytesMax } = options;
  const kernel = createAttentionKernel({
    heads: await countHeads(options),
    kvHeads,
    headDim,
    layers: attentions.length,
    rowsMax: LIMITS.rowsMax,
    positionsMax: contextTokens,
  });
  const pages = createKvPages(kernel.pages, kernel.pageBytes, cacheBytesMax);
  const state: RowState = { ...options, kernel, pages };
  return {
    partsMax: Number.POSITIVE_INFINITY,
    rowsMax: LIMITS.rowsMax,
    bytesPerPosition: 2 * attentions.length * kvHeads * headDim * 4,
    open: () => pages.open(),
    reserve: (kv, positions) => pages.reserve(kv as PagedSequence, positions),
    fork: (kv, length) => pages.fork(kv as PagedSequence, length),
    release: (kv) => pages.trim(kv as PagedSequence, 0),
    usedBytes: pages.usedBytes,
    run: async (parts) => (parts.length === 0 ? [] : await runRows(state, parts)),
    async close() {
      for (const { session } of options.segments) await session.close();
    },
  };
}

/** Heads of a query: an exported graph shows them in what it computes only. Throws `engine_failed`. */
export async function countHeads({
  segments,
  attentions,
  headDim,
}: Pick<RowDecoderOptions, 'segments' | 'attentions' | 'headDim'>): Promise<number> {
  const [segment] = segments as readonly [RowDecoderOptions['segments'][number]];
  const [attention] = attentions as readonly [Attention];
  const outputs = await segment.session.run(tokenFeeds(segment, [0, 0], [0, 1]), segment.outputs);
  const { dims } = outputs[attention.query] as GraphTensor;
  return attention.layout === 'heads' ? (dims[1] as number) : (dims[2] as number) / headDim;
}

type Tensors = Record<string, GraphTensor>;

function tokenFeeds(
  { session, inputs }: RowDecoderOptions['segments'][number],
  ids: readonly number[],
  positions: readonly number[],
): Tensors {
  const tensor = (values: readonly number[]): GraphTensor =>
    session.tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
  return {
    ...(inputs.includes('input_ids') ? { input_ids: tensor(ids) } : {}),
    ...(inputs.includes('position_ids') ? { position_ids: tensor(positions) } : {}),
  };
}

/** One part and where its rows lie in the run. */
interface Placed extends DecoderPart {
  readonly row: number;
}

async function runRows(state: RowState, parts: readonly DecoderPart[]): Promise<readonly (Float32Array | undefined)[]> {
  const { segments, attentions, rowsMin } = state;
  let rows = 0;
  for (const part of parts) goBack(state, part);
  const placed = parts.map((part): Placed => {
    const row = rows;
    rows += part.ids.length;
    return { ...part, row };
  });
  const ids = placed.flatMap((part) => part.ids);
  const positions = placed.flatMap(({ ids: own, from }) => own.map((_, i) => from + i));
  while (ids.length < rowsMin) {
    ids.push(ids[0] as number);
    positions.push(positions[0] as number);
  }
  const known: Tensors = {};
  for (const [level, attention] of attentions.entries()) {
    const segment = segments[level] as RowDecoderOptions['segments'][number];
    Object.assign(known, level === 0 ? tokenFeeds(segment, ids, positions) : {});
    Object.assign(known, await segment.session.run(pick(known, segment.inputs), segment.outputs));
    const isLast = level === attentions.length - 1;
    known[attention.output] = attend(state, level, attention, known, placed, isLast);
  }
  for (const { kv, ids: own, from } of placed) (kv as PagedSequence).length = from + own.length;
  return await logitsOf(state, known, placed, ids.length);
}

/**
 * What is behind `from` is written anew; others that share it keep it. Throws `engine_failed` without room for that.
 */
function goBack({ pages }: RowState, { kv, ids, from }: DecoderPart): void {
  const own = kv as PagedSequence;
  if (from >= own.length) return;
  own.length = from;
  if (!pages.reserve(own, from + ids.length))
    throw new IdlewildError('engine_failed', `no memory is left to write from position ${from} on, which others share`);
}

const pick = (tensors: Tensors, names: readonly string[]): Tensors =>
  Object.fromEntries(names.map((name) => [name, tensors[name] as GraphTensor]));

/** Of the last layer only rows that lead to logits are computed; the others are left as they lie. */
function attend(
  { kernel, segments, headDim }: RowState,
  layer: number,
  attention: Attention,
  known: Tensors,
  parts: readonly Placed[],
  isLast: boolean,
): GraphTensor {
  const [query, key, value] = [attention.query, attention.key, attention.value].map((name) => {
    const tensor = known[name] as GraphTensor;
    return { dims: tensor.dims, data: tensor.data as Float32Array };
  }) as [{ dims: readonly number[]; data: Float32Array }, { data: Float32Array }, { data: Float32Array }];
  kernel.load(query.data, key.data, value.data);
  const rows = attention.layout === 'heads' ? (query.dims[2] as number) : (query.dims[1] as number);
  const strides = (floats: number): Strides =>
    attention.layout === 'heads' ? { head: rows * headDim, row: headDim } : { head: headDim, row: floats / rows };
  const [ofQuery, ofKey] = [strides(query.data.length), strides(key.data.length)];
  for (const { kv, ids, from, row, wantsLogits } of parts) {
    const { table } = kv as PagedSequence;
    kernel.append({ layer, table, first: from, row, rows: ids.length }, ofKey);
    const skipped = isLast ? ids.length - (wantsLogits ? 1 : 0) : 0;
    if (skipped === ids.length) continue;
    const part = { layer, table, first: from + skipped, row: row + skipped, rows: ids.length - skipped };
    kernel.attend(part, ofQuery, attention.scale, attention.window);
  }
  const { session } = segments[layer + 1] as RowDecoderOptions['segments'][number];
  return session.tensor('float32', kernel.output(query.data.length), query.dims);
}

/** The part after the last attention, over the last row of each part that wants logits. */
async function logitsOf(
  { segments, attentions, rowsMin }: RowState,
  known: Tensors,
  parts: readonly Placed[],
  rows: number,
): Promise<readonly (Float32Array | undefined)[]> {
  const wanting = parts.filter(({ wantsLogits }) => wantsLogits).map(({ row, ids }) => row + ids.length - 1);
  if (wanting.length === 0) return parts.map(() => undefined);
  const head = segments.at(-1) as RowDecoderOptions['segments'][number];
  const last = attentions.at(-1) as Attention;
  const inputs = head.inputs.map((name) => ({ name, tensor: known[name] as GraphTensor }));
  const axisOf = (name: string): number => (name === last.output && last.layout === 'heads' ? 2 : 1);
  const canPick = inputs.every(
    ({ name, tensor }) => tensor.data instanceof Float32Array && tensor.dims[axisOf(name)] === rows,
  );
  const padded = [...wanting];
  while (padded.length < rowsMin) padded.push(wanting[0] as number);
  const feeds = Object.fromEntries(
    inputs.map(({ name, tensor }) => [name, canPick ? pickRows(head.session, tensor, axisOf(name), padded) : tensor]),
  );
  const logits = (await head.session.run(feeds, ['logits']))['logits'] as GraphTensor;
  const vocabulary = logits.dims[2] as number;
  let next = 0;
  return parts.map(({ wantsLogits, row, ids }) => {
    if (!wantsLogits) return undefined;
    const at = canPick ? next++ : row + ids.length - 1;
    return floatsOfTensor(logits, at * vocabulary, vocabulary);
  });
}

/** Rows of a float32 tensor along an axis, copied. */
function pickRows(
  session: GraphSession,
  { data, dims }: GraphTensor,
  axis: number,
  rows: readonly number[],
): GraphTensor {
  const from = data as Float32Array;
  const outer = dims.slice(0, axis).reduce((product, size) => product * size, 1);
  const inner = dims.slice(axis + 1).reduce((product, size) => product * size, 1);
  const all = dims[axis] as number;
  const picked = new Float32Array(outer * rows.length * inner);
  for (let block = 0; block < outer; block++) {
    for (const [i, row] of rows.entries()) {
      const at = (block * all + row) * inner;
      picked.set(from.subarray(at, at + inner), (block * rows.length + i) * inner);
    }
  }
  return session.tensor(
    'float32',
    picked,
    dims.map((size, i) => (i === axis ? rows.length : size)),
  );
}
