/**
 * What a decoder's graph does with positions, found by running the parts of it that do nothing else: which tensors hold
 * them, and whether its masks hide what causality hides and no more.
 *
 * Both are asked at the beginning of a context, in its middle and at its very end, so a window shows however wide it
 * is.
 */
import {
  probeMasks,
  probePositions,
  floatEnds,
  writeGraph,
  type Graph,
  type LiftedDecoder,
  type Positions,
  type Probe,
} from '@idlewild/graph';
import { floatsOfTensor, type GraphSession, type GraphTensor } from '../core/session.ts';
import { openOrtSession, type OrtOptions } from './ort-session.ts';

/** One run: `rows` new positions after `past`. */
interface Span {
  readonly past: number;
  readonly rows: number;
}

const spansOf = (contextTokens: number): Span[] =>
  [
    { past: 0, rows: 1 },
    { past: 5, rows: 1 },
    { past: contextTokens >> 1, rows: 3 },
    { past: contextTokens - 2, rows: 2 },
    // The last, for its sizes tell rows from what there is one of.
    { past: 0, rows: Math.min(9, contextTokens) },
  ].filter(({ past, rows }) => past >= 0 && past + rows <= contextTokens);

/** Tensors that hold the rows' positions, or how many there are. Throws `model_unsupported` or `engine_failed`. */
export async function findPositions(
  graph: Graph,
  contextTokens: number,
  options: OrtOptions,
): Promise<Positions | undefined> {
  const probe = probePositions(graph);
  if (probe === undefined) return undefined;
  const rows = new Map<string, number[]>();
  const totals = new Map<string, number[]>();
  const spans = spansOf(contextTokens);
  await withProbe(probe, options, async (run) => {
    for (const [i, span] of spans.entries()) {
      const tensors = await run(span);
      for (const name of probe.outputs) {
        const { dims, data } = tensors[name] as GraphTensor;
        const values = Array.from(data as BigInt64Array, Number);
        const isRows = values.length === span.rows && values.every((value, row) => value === span.past + row);
        const isTotal = values.length === 1 && values[0] === span.past + span.rows;
        note(rows, name, i, isRows, patternOf(dims, span.rows));
        note(totals, name, i, isTotal, [...dims]);
      }
    }
  });
  return { rows, totals };
}

/** Keeps in `found` what fits in every run. */
function note(found: Map<string, number[]>, name: string, run: number, fits: boolean, dims: number[]): void {
  if (!fits || (run > 0 && !found.has(name))) found.delete(name);
  else found.set(name, dims);
}

/** Sizes with -1 for the rows; every other one is 1, since they hold nothing else. */
const patternOf = (dims: readonly number[], rows: number): number[] => {
  const axis = dims.lastIndexOf(rows);
  return dims.map((size, i) => (i === axis ? -1 : size));
};

/** Equal scores give weights that differ by rounding to 16 bits at most. */
const WEIGHT_DIFFERENCE_MAX = 0.02;

/**
 * Why the masks of a graph are more than causal, for people; `undefined` when they are not. Throws `model_unsupported`
 * or `engine_failed`.
 */
export async function whyNotCausal(
  graph: Graph,
  lifted: LiftedDecoder,
  heads: number,
  contextTokens: number,
  options: OrtOptions,
): Promise<string | undefined> {
  const probe = probeMasks(graph, lifted, heads);
  if (probe === undefined) return undefined;
  let why: string | undefined;
  await withProbe(probe, options, async (run) => {
    for (const span of spansOf(contextTokens)) {
      const tensors = await run(span);
      const name = probe.outputs.find((output) => !isCausal(tensors[output] as GraphTensor, span));
      if (name === undefined) continue;
      why = `its mask '${name}' is not that of plain causal attention at position ${span.past + span.rows - 1}`;
      return;
    }
  });
  return why;
}

function isCausal(tensor: GraphTensor, { past, rows }: Span): boolean {
  const total = past + rows;
  const own = tensor.dims.at(-2) ?? 0;
  if (tensor.dims.at(-1) !== total || (own !== rows && own !== 1)) return false;
  const weights = floatsOfTensor(tensor, 0, tensor.data.length);
  return weights.every((weight, i) => {
    const position = own === 1 && rows > 1 ? -1 : past + (Math.floor(i / total) % rows);
    const wanted = i % total <= position ? 1 / (position + 1) : 0;
    return Math.abs(weight - wanted) * (position + 1) <= WEIGHT_DIFFERENCE_MAX;
  });
}

type Run = (span: Span) => Promise<Readonly<Record<string, GraphTensor>>>;

async function withProbe(probe: Probe, options: OrtOptions, use: (run: Run) => Promise<void>): Promise<void> {
  const session = await openOrtSession(writeGraph(floatEnds(probe.graph)), options);
  try {
    await use(({ past, rows }) => session.run(feedsOf(session, probe, past, rows), probe.outputs));
  } finally {
    await session.close();
  }
}

function feedsOf(session: GraphSession, probe: Probe, past: number, rows: number): Record<string, GraphTensor> {
  const total = past + rows;
  const all: Record<string, () => [BigInt64Array, number]> = {
    input_ids: () => [new BigInt64Array(rows), rows],
    attention_mask: () => [new BigInt64Array(total).fill(1n), total],
    position_ids: () => [BigInt64Array.from({ length: rows }, (_, row) => BigInt(past + row)), rows],
  };
  return Object.fromEntries(
    probe.inputs.map((name) => {
      const [data, length] = (all[name] as () => [BigInt64Array, number])();
      return [name, session.tensor('int64', data, [1, length])];
    }),
  );
}
