/**
 * The text files that make a random-weight encoder a complete model folder, in the layouts of transformers and
 * sentence-transformers: a WordPiece vocabulary that can write any text of printable ASCII, pooling and normalisation.
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

import type { Graph } from '../graph.ts';
import { writeGraph } from '../write.ts';
import { buildEncoder } from './build-encoder.ts';
import type { TestEncoderShape } from './build-encoder.ts';

export interface TestEncoder {
  readonly shape: TestEncoderShape;
  readonly seed: number;
  /** What `1_Pooling/config.json` says; without one the folder is a plain transformers model, with no modules.json. */
  readonly pooling?: 'mean' | 'cls' | 'max' | 'lasttoken';
  /** Whether modules.json ends with Normalize; true by default. */
  readonly normalize?: boolean;
  /** `max_seq_length` of sentence_bert_config.json; the whole context by default. */
  readonly tokensMax?: number;
  readonly lowerCase?: boolean;
  /** Lengths to which its vectors may be cut. */
  readonly matryoshka?: readonly number[];
  /** Of a classifier; `LABEL_0`, … by default. */
  readonly labels?: readonly string[];
  /** Of a classifier: `multi_label_classification` asks for a sigmoid of each. */
  readonly problem?: 'single_label_classification' | 'multi_label_classification' | 'regression';
  /** Applied to the graph; quantising, for instance. */
  readonly transform?: (graph: Graph) => Graph;
}

export const SPECIALS = ['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'] as const;

/** Writes the folder as it lies on the Hugging Face hub, the graph in `onnx/model.onnx`. */
export function writeEncoderFolder(folder: string, encoder: TestEncoder): void {
  const graph = (encoder.transform ?? ((same) => same))(buildEncoder(encoder.shape, encoder.seed));
  const put = (path: string, content: string | Uint8Array): void => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    writeFileSync(join(folder, path), content);
  };
  put('onnx/model.onnx', writeGraph(graph));
  for (const [path, text] of Object.entries(encoderFolderTexts(encoder))) put(path, text);
}

/** By path. */
export function encoderFolderTexts(encoder: TestEncoder): Readonly<Record<string, string>> {
  const { shape, pooling, normalize = true, tokensMax, lowerCase = true, matryoshka } = encoder;
  const json = (value: unknown): string => JSON.stringify(value, undefined, 1);
  const texts: Record<string, string> = {
    'config.json': json(configOf(encoder)),
    'tokenizer.json': json(tokenizerOf(shape.vocab, lowerCase)),
    'tokenizer_config.json': json({
      tokenizer_class: 'BertTokenizer',
      do_lower_case: lowerCase,
      cls_token: '[CLS]',
      sep_token: '[SEP]',
      pad_token: '[PAD]',
      unk_token: '[UNK]',
      mask_token: '[MASK]',
      model_max_length: shape.context,
    }),
  };
  if (pooling === undefined) return texts;
  const modules = ['Transformer', 'Pooling', ...(normalize ? ['Normalize'] : [])];
  texts['modules.json'] = json(
    modules.map((name, idx) => ({
      idx,
      name: String(idx),
      path: idx === 0 ? '' : `${idx}_${name}`,
      type: `sentence_transformers.models.${name}`,
    })),
  );
  texts['1_Pooling/config.json'] = json({
    word_embedding_dimension: shape.width,
    pooling_mode_cls_token: pooling === 'cls',
    pooling_mode_mean_tokens: pooling === 'mean',
    pooling_mode_max_tokens: pooling === 'max',
    pooling_mode_mean_sqrt_len_tokens: false,
    pooling_mode_weightedmean_tokens: false,
    pooling_mode_lasttoken: pooling === 'lasttoken',
  });
  texts['sentence_bert_config.json'] = json({ max_seq_length: tokensMax ?? shape.context, do_lower_case: lowerCase });
  texts['config_sentence_transformers.json'] = json({
    __version__: { sentence_transformers: '5.1.0' },
    prompts: {},
    default_prompt_name: null,
    similarity_fn_name: 'cosine',
    ...(matryoshka === undefined ? {} : { matryoshka_dimensions: matryoshka }),
  });
  return texts;
}

function configOf({ shape, labels, problem }: TestEncoder): Record<string, unknown> {
  const names = Array.from({ length: shape.labels ?? 0 }, (_, index) => labels?.[index] ?? `LABEL_${index}`);
  return {
    architectures: [shape.labels === undefined ? 'BertModel' : 'BertForSequenceClassification'],
    model_type: 'bert',
    hidden_size: shape.width,
    num_hidden_layers: shape.layers,
    num_attention_heads: shape.heads,
    intermediate_size: shape.feedForward,
    hidden_act: 'gelu',
    layer_norm_eps: 1e-12,
    max_position_embeddings: shape.context,
    type_vocab_size: shape.tokenTypes === false ? 1 : 2,
    vocab_size: shape.vocab,
    pad_token_id: 0,
    ...(shape.labels === undefined ? {} : { id2label: Object.fromEntries(names.entries()) }),
    ...(problem === undefined ? {} : { problem_type: problem }),
  };
}

function tokenizerOf(vocab: number, lowercase: boolean): Record<string, unknown> {
  const special = (id: number, content: string): Record<string, unknown> => ({
    id,
    content,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    special: true,
  });
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: SPECIALS.map((content, id) => special(id, content)),
    normalizer: {
      type: 'BertNormalizer',
      clean_text: true,
      handle_chinese_chars: true,
      strip_accents: null,
      lowercase,
    },
    pre_tokenizer: { type: 'BertPreTokenizer' },
    post_processor: {
      type: 'TemplateProcessing',
      single: [
        { SpecialToken: { id: '[CLS]', type_id: 0 } },
        { Sequence: { id: 'A', type_id: 0 } },
        { SpecialToken: { id: '[SEP]', type_id: 0 } },
      ],
      pair: [],
      special_tokens: {
        '[CLS]': { id: '[CLS]', ids: [2], tokens: ['[CLS]'] },
        '[SEP]': { id: '[SEP]', ids: [3], tokens: ['[SEP]'] },
      },
    },
    decoder: { type: 'WordPiece', prefix: '##', cleanup: true },
    model: {
      type: 'WordPiece',
      unk_token: '[UNK]',
      continuing_subword_prefix: '##',
      max_input_chars_per_word: 100,
      vocab: Object.fromEntries(words(vocab).map((word, id) => [word, id])),
    },
  };
}

/** The special tokens, each printable character of ASCII alone and inside a word, then pairs of letters. */
function words(vocab: number): string[] {
  const characters = Array.from({ length: 94 }, (_, i) => String.fromCodePoint(33 + i));
  const letters = 'etaoinshrdlucmfwypvbgkjqxz'.split('');
  const pairs = letters.flatMap((first) => letters.map((second) => first + second));
  const pieces = [...characters, ...pairs].flatMap((piece) => [piece, `##${piece}`]);
  return [...SPECIALS, ...pieces].slice(0, vocab);
}
