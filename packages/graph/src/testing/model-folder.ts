/**
 * The text files that make a random-weight decoder a complete model folder: a byte-level vocabulary in which every id
 * decodes to some text, a chat template, and the two configurations. In the formats of Hugging Face's tokenizers and
 * transformers.
 */
import type { TestDecoderShape } from './build-decoder.ts';

export type ModelFolderFile = 'config.json' | 'generation_config.json' | 'tokenizer.json' | 'tokenizer_config.json';

const END_OF_TEXT = '<|endoftext|>';

const CHAT_TEMPLATE =
  "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}" +
  '{% if add_generation_prompt %}assistant: {% endif %}';

/** Id 0 ends a text, ids 1–256 are the bytes, the rest are made-up words. `vocab` must be at least 257. */
export function modelFolderTexts(
  shape: TestDecoderShape,
  { endIds }: { readonly endIds?: readonly number[] | undefined } = {},
): Readonly<Record<ModelFolderFile, string>> {
  const json = (value: unknown): string => JSON.stringify(value, undefined, 1);
  return {
    'config.json': json(configOf(shape)),
    'generation_config.json': json({ eos_token_id: endIds ?? 0, do_sample: true, temperature: 1, max_new_tokens: 200 }),
    'tokenizer.json': json(tokenizerOf(shape.vocab)),
    'tokenizer_config.json': json({
      tokenizer_class: 'PreTrainedTokenizerFast',
      bos_token: null,
      eos_token: END_OF_TEXT,
      add_bos_token: false,
      model_max_length: shape.context ?? 2_048,
      clean_up_tokenization_spaces: false,
      chat_template: CHAT_TEMPLATE,
    }),
  };
}

const configOf = (shape: TestDecoderShape): Record<string, unknown> => ({
  architectures: ['LlamaForCausalLM'],
  model_type: 'llama',
  hidden_size: shape.width,
  num_hidden_layers: shape.layers,
  num_attention_heads: shape.heads,
  num_key_value_heads: shape.kvHeads,
  head_dim: shape.width / shape.heads,
  intermediate_size: shape.feedForward,
  hidden_act: 'silu',
  max_position_embeddings: shape.context ?? 2_048,
  rms_norm_eps: shape.eps ?? 1e-5,
  rope_theta: shape.theta ?? 10_000,
  vocab_size: shape.vocab,
  tie_word_embeddings: false,
  bos_token_id: null,
  eos_token_id: 0,
  torch_dtype: 'float32',
});

function tokenizerOf(vocab: number): Record<string, unknown> {
  const words = [END_OF_TEXT, ...byteCharacters()];
  // A filler is a word of its own: no merge leads to it, so a prompt never contains one, an answer may.
  while (words.length < vocab) words.push(`Ġ${fillerWord(words.length)}`);
  const byteLevel = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true };
  return {
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [
      {
        id: 0,
        content: END_OF_TEXT,
        single_word: false,
        lstrip: false,
        rstrip: false,
        normalized: false,
        special: true,
      },
    ],
    normalizer: null,
    pre_tokenizer: byteLevel,
    post_processor: null,
    decoder: byteLevel,
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: null,
      end_of_word_suffix: null,
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab: Object.fromEntries(words.slice(0, vocab).map((word, id) => [word, id])),
      merges: [],
    },
  };
}

/**
 * The characters that stand for the bytes 0–255 in byte-level BPE: GPT-2's `bytes_to_unicode`, in order of the bytes.
 */
function byteCharacters(): string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCodePoint(printable ? byte : next++);
  });
}

/** Consonant and vowel in turn, two at least: a different word for each number. */
function fillerWord(number: number): string {
  let word = '';
  for (let rest = number; rest > 0 || word.length < 4; rest = Math.floor(rest / 100)) {
    word += `${'bcdfghjklmnprstvwxyz'[Math.floor((rest % 100) / 5)] as string}${'aeiou'[rest % 5] as string}`;
  }
  return word;
}
