/**
 * From a decoder's graph to a `Decoder`: cut at its attentions where these can be told from the rest, as a whole where
 * not.
 *
 * What a mask in a graph hides cannot be read off it, so a cut graph whose attention was written out is compared with
 * the whole one before it is used. The numbers may differ by rounding and no more.
 */
import {
  computeInInt8,
  cutAtAttention,
  liftAttention,
  trimmablePast,
  writeGraph,
  type DecoderShape,
  type Graph,
  type LiftedDecoder,
} from '@idlewild/graph';
import { asIdlewildError, codeOf } from '@idlewild/protocol';
import type { Decoder } from '../core/decoder.ts';
import { isExact, probeTokens } from '../core/exactness.ts';
import { createRowDecoder, type RowDecoderOptions } from '../core/row-decoder.ts';
import type { GraphSession } from '../core/session.ts';
import { createWholeDecoder } from '../core/whole-decoder.ts';
import { openOrtSession } from './ort-session.ts';

export interface OpenDecoderOptions {
  readonly shape: DecoderShape;
  readonly contextTokens: number;
  readonly threads: number;
  /** Heads of attention, where known: in the runtime's own attention more threads than these split sums. */
  readonly attentionHeads: number | undefined;
  readonly sideFolder: string;
  readonly cacheBytesMax: number;
  /** Its attention sees a part of what was before only, whatever its graph looks like at first. */
  readonly slides: boolean;
}

export interface OpenedDecoder {
  readonly decoder: Decoder;
  readonly exact: boolean;
  /** Why it is run as a whole, for people; absent when it is cut. */
  readonly whole?: string;
}

/** Rows of the comparison. */
const COMPARED_ROWS = 24;
/** Differences between two ways of adding the same numbers, of what logits spread over; a wrong mask is far beyond. */
const DIFFERENCE_MAX = 0.02;

/** Throws `model_unsupported` or `engine_failed`. */
export async function openDecoder(given: Graph, options: OpenDecoderOptions): Promise<OpenedDecoder> {
  const graph = computeInInt8(given);
  const { shape, contextTokens } = options;
  const cut = await openCut(graph, options);
  if (typeof cut === 'object') return cut;
  const decoder = await openWhole(graph, options);
  return { decoder, exact: await isExact(decoder, shape.vocab, contextTokens), whole: cut };
}

async function openWhole(graph: Graph, options: OpenDecoderOptions): Promise<Decoder> {
  const { shape, threads, attentionHeads, sideFolder } = options;
  const session = await openOrtSession(writeGraph(trimmablePast(graph)), {
    threads: Math.min(threads, attentionHeads ?? shape.kvHeads),
    sideFolder,
  });
  return createWholeDecoder(session, shape, options);
}

/** The decoder, or why there is none. */
async function openCut(graph: Graph, options: OpenDecoderOptions): Promise<OpenedDecoder | string> {
  const { shape, contextTokens, slides } = options;
  let lifted: LiftedDecoder;
  try {
    lifted = liftAttention(graph);
  } catch (error) {
    if (codeOf(error) !== 'model_unsupported') throw error;
    return (error as Error).message;
  }
  const isWrittenOut = lifted.attentions.some(({ layout }) => layout === 'heads');
  if (isWrittenOut && slides) return 'its attention slides over a window that the graph does not name';
  const wanted = isWrittenOut ? await wholeLogits(graph, options) : undefined;
  const sessions: GraphSession[] = [];
  try {
    const segments: RowDecoderOptions['segments'][number][] = [];
    for (const segment of cutAtAttention(lifted)) {
      const session = await openOrtSession(writeGraph(segment.graph), options);
      sessions.push(session);
      segments.push({ ...segment, session });
    }
    const { kvHeads, headDim } = shape;
    const open = (rowsMin: number): Promise<Decoder> =>
      createRowDecoder({ ...options, ...lifted, segments, kvHeads, headDim, rowsMin });
    const decoder = await open(1);
    if (wanted !== undefined && !isClose(wanted, await logitsOf(decoder, options)))
      throw new Error('cut at its attentions it gives other logits: its mask hides what we do not know');
    if (await isExact(decoder, shape.vocab, contextTokens)) return { decoder, exact: true };
    const doubled = await open(2);
    return { decoder: doubled, exact: await isExact(doubled, shape.vocab, contextTokens) };
  } catch (error) {
    for (const session of sessions) await session.close();
    return asIdlewildError(error, 'cutting the graph').message;
  }
}

async function wholeLogits(graph: Graph, options: OpenDecoderOptions): Promise<Float32Array> {
  const whole = await openWhole(graph, options);
  const logits = await logitsOf(whole, options);
  await whole.close();
  return logits;
}

async function logitsOf(decoder: Decoder, { shape, contextTokens }: OpenDecoderOptions): Promise<Float32Array> {
  const ids = probeTokens(Math.min(COMPARED_ROWS, contextTokens), shape.vocab);
  const kv = decoder.open();
  decoder.reserve(kv, ids.length);
  const [logits] = await decoder.run([{ kv, ids, from: 0, before: undefined, wantsLogits: true }]);
  const copy = (logits as Float32Array).slice();
  decoder.release(kv);
  return copy;
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
