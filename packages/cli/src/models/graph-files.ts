/**
 * Which graph of a model is meant, of those that lie beside each other in the layout of Hugging Face: onnx/model.onnx
 * in full precision and, named after how their weights are kept, model_q4.onnx and others, each with its side files.
 *
 * It decides from names and sizes alone, so a repository is judged before anything of it is fetched.
 */
import { IdlewildError } from '@idlewild/protocol';
import { bytesText } from '../text/units.ts';

/** How a graph's weights are kept; `q4f16` computes in 16 bits around weights of 4. */
export const QUANTS = ['q4', 'q4f16', 'q8', 'f16', 'f32'] as const;
export type Quant = (typeof QUANTS)[number];

export interface ListedFile {
  /** With `/` between folders. */
  readonly path: string;
  readonly bytes: number;
}

export interface GraphChoice {
  readonly quant: Quant;
  readonly path: string;
  /** Files beside the graph that its name claims. The graph itself has the last word on where its weights lie. */
  readonly sides: readonly string[];
  /** Of the graph and its side files. */
  readonly bytes: number;
  /** All that there are. */
  readonly quants: readonly Quant[];
  /** Why this one, for people. */
  readonly why: string;
}

/** Names that exporters give; of several, the first that is there. */
const NAMES: Readonly<Record<Quant, readonly string[]>> = {
  q4: ['model_q4'],
  q4f16: ['model_q4f16'],
  q8: ['model_quantized', 'model_int8', 'model_uint8'],
  f16: ['model_fp16'],
  f32: ['model'],
};
const FOLDERS = ['onnx/', ''] as const;
/** What a device is asked to load unless somebody chose: beyond this, weights of 4 bits are worth what they lose. */
const PLAIN_BYTES_MAX = 1_000_000_000;
/** In 16 bits a processor without kernels for them converts at every step, so these come last. */
const PREFERRED: readonly Quant[] = ['q4', 'q8', 'f32', 'f16', 'q4f16'];

/** Throws `not_found`: no graph at all, or none of that kind. `where` names the folder or repository in messages. */
export function chooseGraph(files: readonly ListedFile[], quant: Quant | undefined, where: string): GraphChoice {
  const graphs = new Map(QUANTS.flatMap((each) => entryOf(each, files)));
  const quants = [...graphs.keys()];
  if (quants.length === 0)
    throw new IdlewildError('not_found', `${where} holds no onnx/model.onnx and no model.onnx; ${EXPORT_HINT}`);
  if (quant !== undefined) {
    const graph = graphs.get(quant);
    if (graph !== undefined) return { ...graph, quants, why: 'as asked' };
    throw new IdlewildError('not_found', `${where} holds no ${quant} graph; it has ${quants.join(', ')}`);
  }
  const plain = graphs.get('f32');
  if (plain !== undefined && plain.bytes <= PLAIN_BYTES_MAX) {
    return { ...plain, quants, why: `full precision, for it has no more than ${bytesText(PLAIN_BYTES_MAX)}` };
  }
  const [first] = PREFERRED.flatMap((each) => graphs.get(each) ?? []);
  if (first === undefined) throw new IdlewildError('internal', `no graph of ${where} is preferred`);
  return { ...first, quants, why: whyInstead(first, plain) };
}

export const isWithoutGraphs = (files: readonly ListedFile[]): boolean =>
  QUANTS.every((quant) => entryOf(quant, files).length === 0);

/** What to do about a model that is not in ONNX. */
const EXPORT_HINT =
  'export it with a key-value cache: `optimum-cli export onnx --model MODEL --task text-generation-with-past DIR`';

type Found = Omit<GraphChoice, 'quants' | 'why'>;

function entryOf(quant: Quant, files: readonly ListedFile[]): [Quant, Found][] {
  for (const folder of FOLDERS) {
    for (const name of NAMES[quant]) {
      const path = `${folder}${name}.onnx`;
      const graph = files.find((file) => file.path === path);
      if (graph === undefined) continue;
      const sides = files.filter((file) => isSideOf(file.path, path));
      const bytes = sides.reduce((sum, side) => sum + side.bytes, graph.bytes);
      return [[quant, { quant, path, sides: sides.map((side) => side.path), bytes }]];
    }
  }
  return [];
}

/** `model.onnx_data`, `model.onnx_data_1`, `model.onnx.data`: as exporters name what does not fit the graph's file. */
const isSideOf = (path: string, graph: string): boolean =>
  path.startsWith(graph) && /^[._]data(_\d{1,4})?$/.test(path.slice(graph.length));

function whyInstead({ quant }: Found, plain: Found | undefined): string {
  if (plain === undefined) return 'there is none in full precision';
  const which = quant === 'f32' ? 'there is no smaller one; it' : 'the one in full precision';
  return `${which} has ${bytesText(plain.bytes)}`;
}
