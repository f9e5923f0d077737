/**
 * How an encoder's or a classifier's output becomes what a caller gets: what the text files beside its graph say of the
 * longest text, of pooling, of normalisation and of labels, in the layouts of transformers and sentence-transformers.
 *
 * Who publishes a model reads it to describe the model, who runs one to run it; so both see the same or refuse alike. A
 * module that would have to be computed and is not is refused by name: leaving it out would give other vectors.
 */
import { IdlewildError } from '@idlewild/protocol';

import type { EncoderShape, ModelConfig } from './encoder.ts';
import { labelsOf } from './encoder.ts';

/** Files that are read beside config.json and the tokeniser's, by path. */
export const ENCODER_TEXTS = [
  'modules.json',
  '1_Pooling/config.json',
  'sentence_bert_config.json',
  'config_sentence_transformers.json',
] as const;

/** In the order in which several are put one after the other. */
const POOLINGS = ['cls', 'max', 'mean', 'last'] as const;
export type Pooling = (typeof POOLINGS)[number];

export interface EncoderRecipe {
  /** Of rows into one vector; none where the graph does it. */
  readonly pooling: readonly Pooling[];
  /** To length 1. */
  readonly normalize: boolean;
  /** Tokens of the longest text, the special ones with it. */
  readonly tokensMax: number;
  readonly lowerCase: boolean;
  /** Put before each text. */
  readonly prompt: string;
  /** Numbers of one result. */
  readonly dimensions: number;
  /** Lengths to which a vector may be cut; empty: all. Absent: none. */
  readonly matryoshka?: readonly number[];
  /** Of a classifier. */
  readonly labels?: readonly string[];
  /** What makes probabilities of a classifier's logits. */
  readonly activation: 'softmax' | 'sigmoid' | 'none';
}

/** Contents by path; what is not there has its neutral value. */
export type EncoderTexts = Readonly<Record<string, string>>;

const POOLING_FILE = '1_Pooling/config.json';
/** Fields of 1_Pooling/config.json. */
const MODES: Readonly<Record<string, Pooling | undefined>> = {
  pooling_mode_cls_token: 'cls',
  pooling_mode_max_tokens: 'max',
  pooling_mode_mean_tokens: 'mean',
  pooling_mode_lasttoken: 'last',
};
const MODE_NAMES: Readonly<Record<string, Pooling | undefined>> = {
  cls: 'cls',
  max: 'max',
  mean: 'mean',
  lasttoken: 'last',
};
/** Architectures whose positions begin after the padding token, so that a table of 514 is for 512 tokens. */
const POSITIONS_OFFSET = /^(roberta|xlm-roberta|camembert|mpnet|xlm-roberta-xl|data2vec-text|longformer)$/;
/** Tokenisers say 10^30 when they mean that nobody said. */
const LENGTH_MAX = 1_000_000;

const invalid = (message: string): IdlewildError => new IdlewildError('model_invalid', message);
const unsupported = (message: string): IdlewildError => new IdlewildError('model_unsupported', message);

/** @throws IdlewildError `model_invalid` or `model_unsupported`, naming the file and what in it is at fault */
export function readEncoderRecipe(shape: EncoderShape, config: ModelConfig, texts: EncoderTexts): EncoderRecipe {
  const { kind, output, width } = shape;
  const tokensMax = longestText(config, texts);
  const common = { tokensMax, lowerCase: readObject(texts, 'sentence_bert_config.json')['do_lower_case'] === true };
  if (kind === 'classifier') {
    if (width === undefined)
      throw invalid('neither the graph nor id2label in config.json says how many labels there are');
    const activation = activationOf(config, width);
    const labels = labelsOf(config, width);
    return { ...common, pooling: [], normalize: false, prompt: '', dimensions: width, labels, activation };
  }
  if (width === undefined) throw invalid('neither the graph nor hidden_size in config.json says how long a vector is');
  const { normalize, hasPooling } = modulesOf(texts, output.of === 'text');
  const pooling = output.of === 'text' ? [] : poolingOf(texts, hasPooling);
  const matryoshka = matryoshkaOf(config, readObject(texts, 'config_sentence_transformers.json'));
  return {
    ...common,
    pooling,
    normalize,
    prompt: promptOf(texts),
    dimensions: width * Math.max(1, pooling.length),
    ...(matryoshka === undefined ? {} : { matryoshka }),
    activation: 'none',
  };
}

function longestText(config: ModelConfig, texts: EncoderTexts): number {
  const positions = countOf(config['max_position_embeddings'] ?? config['n_positions'] ?? config['max_seq_len']);
  const offset = POSITIONS_OFFSET.test(String(config['model_type'])) ? 2 : 0;
  const stated = [
    positions === undefined ? undefined : positions - offset,
    countOf(readObject(texts, 'sentence_bert_config.json')['max_seq_length']),
    countOf(readObject(texts, 'tokenizer_config.json')['model_max_length']),
  ].filter((length) => length !== undefined && length > 0 && length <= LENGTH_MAX) as number[];
  if (stated.length > 0) return Math.min(...stated);
  throw invalid('config.json does not say the length of its context: it has no "max_position_embeddings"');
}

/** modules.json lists the steps of sentence-transformers; a folder without it is a plain transformers model. */
function modulesOf(texts: EncoderTexts, isPooled: boolean): { normalize: boolean; hasPooling: boolean } {
  const modules = readJson(texts, 'modules.json') ?? [];
  if (!Array.isArray(modules)) throw invalid('modules.json does not hold a list of modules');
  let normalize = false;
  let hasPooling = false;
  for (const entry of modules as readonly unknown[]) {
    const { type, path } = (entry ?? {}) as { type?: unknown; path?: unknown };
    const name = String(type).split('.').at(-1) ?? '';
    if (name === 'Transformer') continue;
    if (name === 'Normalize') normalize = true;
    // A graph that gives a vector for each text has these in it.
    else if (isPooled) continue;
    else if (name === 'Pooling' && path === '1_Pooling') hasPooling = true;
    else throw unsupported(`modules.json asks for ${name} in '${String(path)}', which the engine does not run`);
  }
  return { normalize, hasPooling };
}

/** The mean, as sentence-transformers takes it for a model that says nothing. */
function poolingOf(texts: EncoderTexts, isAsked: boolean): readonly Pooling[] {
  const fields = readObject(texts, POOLING_FILE);
  if (isAsked && texts[POOLING_FILE] === undefined)
    throw invalid(`modules.json names ${POOLING_FILE}, which is not there`);
  const named = fields['pooling_mode'];
  if (typeof named === 'string') return [modeOf(named, MODE_NAMES[named])];
  const asked = Object.keys(fields).filter((field) => field.startsWith('pooling_mode_') && fields[field] === true);
  const modes = new Set(asked.map((field) => modeOf(field, MODES[field])));
  return modes.size === 0 ? ['mean'] : POOLINGS.filter((mode) => modes.has(mode));
}

function modeOf(name: string, mode: Pooling | undefined): Pooling {
  if (mode !== undefined) return mode;
  throw unsupported(`${POOLING_FILE} asks for "${name}", which the engine does not run`);
}

/** What sentence-transformers puts before a text when nobody says otherwise. */
function promptOf(texts: EncoderTexts): string {
  const fields = readObject(texts, 'config_sentence_transformers.json');
  const name = fields['default_prompt_name'];
  const prompts = (fields['prompts'] ?? {}) as Readonly<Record<string, unknown>>;
  const prompt = typeof name === 'string' ? prompts[name] : '';
  if (typeof prompt !== 'string')
    throw invalid(`config_sentence_transformers.json names the prompt "${String(name)}" and does not have it`);
  if (prompt !== '' && readObject(texts, POOLING_FILE)['include_prompt'] === false)
    throw unsupported(`${POOLING_FILE} leaves the prompt's tokens out of the pooling, which the engine does not do`);
  return prompt;
}

/** As vLLM reads it: `matryoshka_dimensions`, or `is_matryoshka` for any length. */
function matryoshkaOf(...configs: readonly ModelConfig[]): readonly number[] | undefined {
  for (const config of configs) {
    const listed = config['matryoshka_dimensions'];
    if (Array.isArray(listed) && listed.length > 0 && listed.every((length) => countOf(length) !== undefined))
      return listed as number[];
    if (config['is_matryoshka'] === true) return [];
  }
  return undefined;
}

/** As the text-classification pipeline of transformers chooses it. */
function activationOf(config: ModelConfig, labels: number): EncoderRecipe['activation'] {
  const problem = config['problem_type'];
  if (problem === 'regression') return 'none';
  return problem === 'multi_label_classification' || labels === 1 ? 'sigmoid' : 'softmax';
}

const countOf = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : undefined;

function readJson(texts: EncoderTexts, path: string): unknown {
  const text = texts[path];
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw new IdlewildError('model_invalid', `${path} is not JSON: ${(cause as Error).message}`, { cause });
  }
}

function readObject(texts: EncoderTexts, path: string): Readonly<Record<string, unknown>> {
  const value = readJson(texts, path) ?? {};
  if (typeof value === 'object' && !Array.isArray(value)) return value as Readonly<Record<string, unknown>>;
  throw invalid(`${path} does not hold a JSON object`);
}
