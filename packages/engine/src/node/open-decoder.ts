/**
 * From a decoder's graph to a `Decoder`: cut at its attentions where these can be told from the rest, as a whole where
 * not.
 *
 * What a mask in a graph hides cannot be read off it, so masks are run by themselves over the whole context, and a cut
 * graph whose attention the graph masks is compared with the whole one before it is used: over a prompt, and over rows
 * that follow it. The numbers may differ by rounding and no more.
 */
import {
  computeInInt8,
  cutAtAttention,
  describeDecoder,
  floatEnds,
  liftAttention,
  trimmablePast,
  writeGraph,
  type DecoderShape,
  type Graph,
  type LiftedDecoder,
} from '@idlewild/graph';
import { IdlewildError, asIdlewildError } from '@idlewild/protocol';
import type { Decoder } from '../core/decoder.ts';
import { isExact, isExactInBulk, probeTokens } from '../core/exactness.ts';
import { countHeads, createRowDecoder, type RowDecoderOptions } from '../core/row-decoder.ts';
import type { GraphSession } from '../core/session.ts';
import { createWholeDecoder } from '../core/whole-decoder.ts';
import { findPositions, whyNotCausal } from './attention-probes.ts';
import { openOrtSession } from './ort-session.ts';

export interface OpenDecoderOptions {
  readonly shape: DecoderShape;
  readonly contextTokens: number;
  readonly threads: number;
  /** Heads of attention, where known: in the runtime's own attention more threads than these split sums. */
  readonly attentionHeads: number | undefined;
  readonly sideFolder: string;
  readonly cacheBytesMax: number;
}

export interface OpenedDecoder {
  readonly decoder: Decoder;
  readonly exact: boolean;
  /** Whether guesses may be run beside what is known, and change no bit. */
  readonly drafts: boolean;
  /** Why it is run as a whole, for people; absent when it is cut. */
  readonly whole?: string;
}

/** Rows of the comparison: read at once, and read after those. */
const COMPARED_ROWS = 24;
const COMPARED_AFTER = 5;
/** Differences between two ways of adding the same numbers, of what logits spread over; a wrong mask is far beyond. */
const DIFFERENCE_MAX = 0.02;

/** Throws `model_unsupported` or `engine_failed`. */
export async function openDecoder(given: Graph, options: OpenDecoderOptions): Promise<OpenedDecoder> {
  const graph = computeInInt8(given);
  const cut = await openCut(graph, options);
  if (typeof cut === 'object') return cut;
  const decoder = await openWhole(graph, options);
  return { ...(await probed(decoder, options)), whole: cut };
}

async function probed(
  decoder: Decoder,
  { shape, contextTokens }: OpenDecoderOptions,
): Promise<Pick<OpenedDecoder, 'decoder' | 'exact' | 'drafts'>> {
  const exact = await isExact(decoder, shape.vocab, contextTokens);
  return { decoder, exact, drafts: exact && (await isExactInBulk(decoder, shape.vocab, contextTokens)) };
}

async function openWhole(graph: Graph, options: OpenDecoderOptions): Promise<Decoder> {
  const { threads, attentionHeads, sideFolder } = options;
  const whole = floatEnds(trimmablePast(graph));
  const shape = describeDecoder(whole);
  const session = await openOrtSession(writeGraph(whole), {
    threads: Math.min(threads, attentionHeads ?? shape.kvHeads),
    sideFolder,
  });
  return createWholeDecoder(session, shape, options);
}

/** The decoder, or why there is none. */
async function openCut(graph: Graph, options: OpenDecoderOptions): Promise<OpenedDecoder | string> {
  const { shape } = options;
  const sessions: GraphSession[] = [];
  try {
    const lifted = await lift(graph, options);
    const segments: RowDecoderOptions['segments'][number][] = [];
    for (const segment of cutAtAttention(lifted)) {
      const session = await openOrtSession(writeGraph(floatEnds(segment.graph)), options);
      sessions.push(session);
      segments.push({ ...segment, session });
    }
    const { kvHeads, headDim } = shape;
    const parts = { ...options, ...lifted, segments, kvHeads, headDim };
    const open = (rowsMin: number): Promise<Decoder> => createRowDecoder({ ...parts, rowsMin });
    const decoder = await open(1);
    await checkMasks(graph, lifted, await countHeads(parts), decoder, options);
    const single = await probed(decoder, options);
    return single.exact ? single : await probed(await open(2), options);
  } catch (error) {
    for (const session of sessions) await session.close();
    return asIdlewildError(error, 'cutting the graph').message;
  }
}

/** Throws `model_unsupported`. */
async function lift(graph: Graph, options: OpenDecoderOptions): Promise<LiftedDecoder> {
  try {
    return liftAttention(graph);
  } catch (error) {
    // A graph may work out positions by itself: these are told apart by running them.
    const positions = await findPositions(graph, options.contextTokens, options);
    if (positions === undefined) throw error;
    return liftAttention(graph, positions);
  }
}

/** Throws where attention sees less, or otherwise, than all rows up to its own. */
async function checkMasks(
  graph: Graph,
  lifted: LiftedDecoder,
  heads: number,
  decoder: Decoder,
  options: OpenDecoderOptions,
): Promise<void> {
  if (!lifted.sites.some(({ mask }) => mask !== undefined)) return;
  const why = await whyNotCausal(graph, lifted, heads, options.contextTokens, options);
  if (why !== undefined) throw new IdlewildError('model_unsupported', why);
  const [wanted, got] = [await wholeLogits(graph, options), await logitsOf(decoder, options)];
  if (!wanted.every((row, i) => isClose(row, got[i] as Float32Array)))
    throw new IdlewildError('model_unsupported', 'cut at its attentions it gives other logits');
}

async function wholeLogits(graph: Graph, options: OpenDecoderOptions): Promise<Float32Array[]> {
  const whole = await openWhole(graph, options);
  const logits = await logitsOf(whole, options);
  await whole.close();
  return logits;
}

async function logitsOf(decoder: Decoder, { shape, contextTokens }: OpenDecoderOptions): Promise<Float32Array[]> {
  const ids = probeTokens(Math.min(COMPARED_ROWS, contextTokens), shape.vocab);
  const kv = decoder.open();
  decoder.reserve(kv, ids.length);
  const logits: Float32Array[] = [];
  for (const [from, until] of [
    [0, ids.length - COMPARED_AFTER],
    [ids.length - COMPARED_AFTER, ids.length],
  ] as const) {
    if (until <= from || from < 0) continue;
    const part = { kv, ids: ids.slice(from, until), from, before: ids[from - 1], logitRows: 1 };
    const [rows = []] = await decoder.run([part]);
    logits.push((rows[0] as Float32Array).slice());
  }
  decoder.release(kv);
  return logits;
}

function isClose(left: Float32Array, right: Float32Array): boolean {
  let [low, high, apart] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0];
  for (const [i, value] of left.entries()) {
    low = Math.min(low, value);
    high = Math.max(high, value);
    apart = Math.max(apart, Math.abs(value - (right[i] as number)));
  }
  return apart <= DIFFERENCE_MAX * (high - low);
}
