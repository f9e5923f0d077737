/**
 * What the engine must know about an encoder or a classifier to run it, read off the inputs and outputs that its graph
 * declares, and of which kind a model is.
 *
 * Names are those that Optimum and sentence-transformers write: `input_ids`, `attention_mask`, `token_type_ids` and
 * `position_ids` (both optional) in; `sentence_embedding`, `last_hidden_state`, `token_embeddings` or `pooler_output`
 * out, of a classifier `logits` [batch, labels]. Anything else that a graph asks for is refused by name.
 */
import { IdlewildError, type ModelKind } from '@idlewild/protocol';

import { DTYPE, dtypeName } from './dtypes.ts';
import type { Graph, ValueInfo } from './graph.ts';
import { feedsOf } from './graph.ts';

/** Fields of a model's config.json; it is somebody else's, so nothing about it is believed but what is looked at. */
export type ModelConfig = Readonly<Record<string, unknown>>;

export interface EncoderShape {
  readonly kind: 'encoder' | 'classifier';
  readonly hasMask: boolean;
  readonly hasTokenTypes: boolean;
  readonly hasPositionIds: boolean;
  /** The output that is read: [batch, sequence, width] with a row for each `token`, [batch, width] for each `text`. */
  readonly output: { readonly name: string; readonly of: 'token' | 'text' };
  /** Last dimension of that output; absent when neither the graph nor the configuration states it. */
  readonly width?: number;
}

/** Outputs of encoders, the best first: a vector of the text already has the model's own last steps in it. */
const OUTPUTS: readonly EncoderShape['output'][] = [
  { name: 'sentence_embedding', of: 'text' },
  { name: 'text_embeds', of: 'text' },
  { name: 'last_hidden_state', of: 'token' },
  { name: 'token_embeddings', of: 'token' },
  { name: 'pooler_output', of: 'text' },
];

const INPUTS: readonly string[] = ['input_ids', 'attention_mask', 'token_type_ids', 'position_ids'];

/** What is known of inputs that are not text, so that a refusal says more than a name. */
const FOREIGN: ReadonlyArray<readonly [pattern: RegExp, what: string]> = [
  [/^pixel_/, 'it reads images'],
  [/^input_(features|values)$/, 'it reads sound'],
  [/^(encoder_hidden_states|encoder_attention_mask|decoder_)/, 'it is one half of an encoder-decoder'],
  [/^past_key_values\./, 'it goes on from a cache, as decoders do'],
];

const unsupported = (message: string): IdlewildError =>
  new IdlewildError('model_unsupported', `this graph is not an encoder that the engine runs: ${message}`);

const architecturesOf = (config: ModelConfig): string[] => {
  const value = config['architectures'];
  return Array.isArray(value) ? value.filter((name) => typeof name === 'string') : [];
};
const hasArchitecture = (config: ModelConfig, pattern: RegExp): boolean =>
  architecturesOf(config).some((name) => pattern.test(name));
const outputNamed = (graph: Graph, name: string): ValueInfo | undefined =>
  graph.outputs.find((output) => output.name === name);

/** Which kind a graph is meant to be; whether it is one that runs is for `describeDecoder` and `describeEncoder`. */
export function modelKindOf(graph: Graph, config: ModelConfig): ModelKind {
  const inputs = feedsOf(graph).map((input) => input.name);
  if (inputs.some((name) => name.startsWith('past_key_values.'))) return 'decoder';
  if (OUTPUTS.some(({ name }) => outputNamed(graph, name) !== undefined)) return 'encoder';
  if (hasArchitecture(config, /ForSequenceClassification$/)) return 'classifier';
  if (outputNamed(graph, 'logits')?.dims?.length === 2) return 'classifier';
  return inputs.some((name) => FOREIGN.some(([pattern]) => pattern.test(name))) ? 'encoder' : 'decoder';
}

/** @throws IdlewildError `model_unsupported`, naming the input, output or architecture at fault */
export function describeEncoder(graph: Graph, config: ModelConfig = {}): EncoderShape {
  if (config['is_encoder_decoder'] === true) {
    throw unsupported(`its configuration says that it is an encoder-decoder (${nameOf(config)})`);
  }
  const inputs = new Map(feedsOf(graph).map((input) => [input.name, input]));
  for (const input of inputs.values()) expectTokenInput(input);
  if (!inputs.has('input_ids')) throw unsupported("it has no input 'input_ids'");
  const has = {
    hasMask: inputs.has('attention_mask'),
    hasTokenTypes: inputs.has('token_type_ids'),
    hasPositionIds: inputs.has('position_ids'),
  };
  const output = OUTPUTS.find(({ name }) => outputNamed(graph, name) !== undefined);
  if (output === undefined) return { kind: 'classifier', ...has, ...classes(graph, config) };
  const { dims } = outputNamed(graph, output.name) as ValueInfo;
  expectRank(output.name, dims, output.of === 'token' ? 3 : 2);
  const width = widthOf(dims) ?? (output.of === 'token' ? countOf(config['hidden_size'] ?? config['dim']) : undefined);
  return { kind: 'encoder', ...has, output, ...(width === undefined ? {} : { width }) };
}

function expectTokenInput({ name, dtype }: ValueInfo): void {
  const foreign = FOREIGN.find(([pattern]) => pattern.test(name));
  if (foreign !== undefined) throw unsupported(`${foreign[1]} (its input '${name}')`);
  if (!INPUTS.includes(name)) throw unsupported(`the engine does not know what to feed to its input '${name}'`);
  if (dtype !== DTYPE.int64)
    throw unsupported(`its input '${name}' is of type ${dtypeName(dtype) ?? dtype}, not int64`);
}

function classes(graph: Graph, config: ModelConfig): Pick<EncoderShape, 'output' | 'width'> {
  const logits = outputNamed(graph, 'logits');
  if (logits === undefined) {
    const named = graph.outputs.map(({ name }) => `'${name}'`).join(', ');
    throw unsupported(`of its outputs (${named}) none is one that the engine reads`);
  }
  const rank = logits.dims?.length;
  // A graph that does not even state a rank is believed to be what its configuration calls it.
  if (rank === undefined ? !hasArchitecture(config, /ForSequenceClassification$/) : rank !== 2) {
    throw unsupported(
      `its output 'logits' has ${rank === undefined ? 'no stated rank' : `rank ${rank}`} (${nameOf(config)}); ` +
        'a classifier of texts gives [batch, labels]',
    );
  }
  const width = widthOf(logits.dims) ?? labelCount(config);
  return { output: { name: 'logits', of: 'text' }, ...(width === undefined ? {} : { width }) };
}

const nameOf = (config: ModelConfig): string => architecturesOf(config)[0] ?? 'of no named architecture';

function expectRank(name: string, dims: ValueInfo['dims'], rank: number): void {
  if (dims === undefined || dims.length === rank) return;
  throw unsupported(`its output '${name}' has rank ${dims.length}, not ${rank}`);
}

const widthOf = (dims: ValueInfo['dims']): number | undefined => countOf(dims?.at(-1));

const countOf = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : undefined;

function labelCount(config: ModelConfig): number | undefined {
  const named = config['id2label'];
  return typeof named === 'object' && named !== null ? countOf(Object.keys(named).length) : undefined;
}

/**
 * Names of a classifier's outputs, in their order: `id2label` of the configuration, else `LABEL_0`, `LABEL_1`, … as
 * transformers has them.
 */
export function labelsOf(config: ModelConfig, count: number): string[] {
  const named = config['id2label'];
  const names = typeof named === 'object' && named !== null ? (named as Readonly<Record<string, unknown>>) : {};
  return Array.from({ length: count }, (_, index) => {
    const name = names[String(index)];
    return typeof name === 'string' && name !== '' ? name : `LABEL_${index}`;
  });
}
