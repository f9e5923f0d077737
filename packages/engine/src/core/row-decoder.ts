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
import { learnShares, pickRows, type RowShares, type RowsSeen, type Tensors } from './row-picks.ts';
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
  /** How the last part's inputs divide into rows; absent where that cannot be told. */
  readonly shares: RowShares | undefined;
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
  const begun: RowState = { ...options, kernel, pages, shares: undefined };
  const state: RowState = { ...begun, shares: await learnHead(begun) };
  return {
    partsMax: Number.POSITIVE_INFINITY,
    rowsMax: LIMITS.rowsMax,
    bytesPerPosition: 2 * attentions.length * kvHeads * headDim * 4,
    open: () => pages.open(),
    reserve: (kv, positions) => pages.reserve(kv as PagedSequence, positions),
    fork: (kv, length) => pages.fork(kv as PagedSequence, length),
    release: (kv) => pages.trim(kv as PagedSequence, 0),
    trim: (kv, length) => pages.trim(kv as PagedSequence, length),
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
  const segment = partAt(segments, 0);
  const [attention] = attentions as readonly [Attention];
  const outputs = await segment.session.run(pick(tokenFeeds(segment, [0, 0], [0, 1]), segment.inputs), segment.outputs);
  const { dims } = outputs[attention.query] as GraphTensor;
  return attention.layout === 'heads' ? (dims[1] as number) : (dims[2] as number) / headDim;
}

function tokenFeeds(
  { session }: RowDecoderOptions['segments'][number],
  ids: readonly number[],
  positions: readonly number[],
): Tensors {
  const tensor = (values: readonly number[]): GraphTensor =>
    session.tensor('int64', BigInt64Array.from(values, BigInt), [1, values.length]);
  return { input_ids: tensor(ids), position_ids: tensor(positions) };
}

/** One part and where its rows lie in the run. */
interface Placed extends DecoderPart {
  readonly row: number;
}

async function runRows(state: RowState, parts: readonly DecoderPart[]): Promise<readonly (readonly Float32Array[])[]> {
  const { rowsMin } = state;
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
  const known = await runParts(state, placed, ids, positions);
  for (const { kv, ids: own, from } of placed) (kv as PagedSequence).length = from + own.length;
  return await logitsOf(state, known, placed, ids.length);
}

/** All that the parts before the last one give, and what it reads. */
async function runParts(
  state: RowState,
  placed: readonly Placed[],
  ids: readonly number[],
  positions: readonly number[],
): Promise<Tensors> {
  const { segments, attentions } = state;
  const known: Record<string, GraphTensor> = { ...tokenFeeds(partAt(segments, 0), ids, positions) };
  for (const [level, attention] of attentions.entries()) {
    const segment = partAt(segments, level);
    Object.assign(known, await segment.session.run(pick(known, segment.inputs), segment.outputs));
    known[attention.output] = attend(state, level, attention, known, placed, level === attentions.length - 1);
  }
  return known;
}

const partAt = (segments: RowDecoderOptions['segments'], level: number): RowDecoderOptions['segments'][number] =>
  segments[level] as RowDecoderOptions['segments'][number];

/** Runs of few rows show how the inputs of the last part divide into rows. */
async function learnHead(state: RowState): Promise<RowShares | undefined> {
  const { segments, attentions, pages, contextTokens } = state;
  const names = partAt(segments, attentions.length).inputs;
  const runs: RowsSeen[] = [];
  for (const rows of [2, 3, 5]) {
    const kv = pages.open();
    if (rows > contextTokens || !pages.reserve(kv, rows)) return undefined;
    const positions = Array.from({ length: rows }, (_, row) => row);
    const ids = positions.map(() => 0);
    const part: Placed = { kv, ids, from: 0, before: undefined, logitRows: 1, row: 0 };
    const known = await runParts(state, [part], ids, positions);
    // What attention gave lies in memory that the next run writes to.
    runs.push({ rows, tensors: Object.fromEntries(names.map((name) => [name, copyOf(known[name] as GraphTensor)])) });
    pages.trim(kv, 0);
  }
  return learnShares(names, runs as [RowsSeen, RowsSeen, RowsSeen]);
}

const copyOf = (tensor: GraphTensor): GraphTensor => ({
  type: tensor.type,
  dims: tensor.dims,
  data: (tensor.data as Float32Array | BigInt64Array).slice(),
});

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
  for (const { kv, ids, from, row, logitRows } of parts) {
    const { table } = kv as PagedSequence;
    kernel.append({ layer, table, first: from, row, rows: ids.length }, ofKey);
    const skipped = isLast ? ids.length - logitRows : 0;
    if (skipped === ids.length) continue;
    const part = { layer, table, first: from + skipped, row: row + skipped, rows: ids.length - skipped };
    kernel.attend(part, ofQuery, attention.scale, attention.window);
  }
  const { session } = partAt(segments, layer + 1);
  return session.tensor('float32', kernel.output(query.data.length), query.dims);
}

/** The part after the last attention, over the last rows of each part, as many as are to have logits. */
async function logitsOf(
  { segments, rowsMin, shares }: RowState,
  known: Tensors,
  parts: readonly Placed[],
  rows: number,
): Promise<readonly (readonly Float32Array[])[]> {
  const rowsOf = ({ row, ids, logitRows }: Placed): number[] =>
    Array.from({ length: logitRows }, (_, i) => row + ids.length - logitRows + i);
  const wanting = parts.flatMap(rowsOf);
  if (wanting.length === 0) return parts.map(() => []);
  const { session, inputs } = partAt(segments, segments.length - 1);
  const picked = [...wanting];
  while (picked.length < rowsMin) picked.push(wanting[0] as number);
  const feeds = inputs.map((name) => {
    const tensor = known[name] as GraphTensor;
    return [name, shares === undefined ? tensor : pickRows(session, tensor, shares.get(name), picked, rows)] as const;
  });
  const logits = (await session.run(Object.fromEntries(feeds), ['logits']))['logits'] as GraphTensor;
  const vocabulary = logits.dims[2] as number;
  let next = 0;
  return parts.map((part) =>
    rowsOf(part).map((row) => floatsOfTensor(logits, (shares === undefined ? row : next++) * vocabulary, vocabulary)),
  );
}
