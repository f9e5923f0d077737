/**
 * The fields that OpenAI's endpoints share, as schemas, and how a field is refused or ignored.
 *
 * Every field of the official API is either supported, or accepted because ignoring it changes nothing (its description
 * says `Ignored`), or refused by name with a reason. A key that is in no schema is refused, too. Where OpenAI takes
 * `null` for "not given", so does this. docs/openai.md tells people the same, and a test holds it to these schemas.
 */
import { LIMITS } from '@idlewild/protocol';
import { z } from 'zod';
import { HUB_LIMITS } from '../../limits.ts';

/** A field that may be left out or `null`. */
export const given = <Schema extends z.ZodType>(schema: Schema): z.ZodOptional<z.ZodNullable<Schema>> =>
  schema.nullable().optional();

/** A known field that only `null` passes: the refusal names it and says `why`; see `fromIssue` in ../errors.ts. */
export const refused = (why: string): z.ZodOptional<z.ZodNull> =>
  z.null({ error: why }).optional().describe(`Refused: ${why}`);

/** A field that is checked and then changes nothing; `why` that is right. */
export const ignored = <Schema extends z.ZodType>(schema: Schema, why: string): z.ZodOptional<z.ZodNullable<Schema>> =>
  given(schema).describe(`Ignored: ${why}`);

const shortText = z.string().max(HUB_LIMITS.labelCharactersMax);

export const modelField = z
  .string()
  .min(1)
  .max(LIMITS.nameCharactersMax)
  .describe('A name from /v1/models; one of kind "decoder".');

const seed = z.int().min(Number.MIN_SAFE_INTEGER).max(Number.MAX_SAFE_INTEGER);
const stop = z.union(
  [
    z.string().min(1).max(LIMITS.stopCharactersMax),
    z.array(z.string().min(1).max(LIMITS.stopCharactersMax)).max(LIMITS.stopStringsMax),
  ],
  { error: `must be a text or a list of at most ${LIMITS.stopStringsMax} texts` },
);
const logitBias = z
  .record(z.string().regex(/^\d{1,9}$/, 'must have token ids as its keys'), z.number().min(-100).max(100))
  .refine((biases) => Object.keys(biases).length <= LIMITS.logitBiasMax, {
    error: `must have at most ${LIMITS.logitBiasMax} tokens`,
  });

export const temperature = given(z.number().min(0).max(2));
export const topP = given(z.number().gt(0).max(1));
export const tokensMax = given(z.int().min(1).max(LIMITS.tokensMax));

/** Beyond OpenAI's API, on every endpoint that samples. */
export const samplingExtras = {
  top_k: given(z.int().min(0)).describe("Not in OpenAI's API: keeps the k likeliest tokens, 0 keeps all."),
  repetition_penalty: given(z.number().gt(0).max(100)).describe(
    "Not in OpenAI's API: divides the positive and multiplies the negative logits of tokens that were seen; 1 is off.",
  ),
};

/** Of chat and completions alike. */
export const sampledFields = {
  model: modelField,
  max_tokens: tokensMax,
  temperature,
  top_p: topP,
  ...samplingExtras,
  seed: given(seed),
  frequency_penalty: given(z.number().min(-2).max(2)),
  presence_penalty: given(z.number().min(-2).max(2)),
  logit_bias: given(logitBias),
  stop: given(stop),
  stream: given(z.boolean()),
  stream_options: given(
    z.strictObject({
      include_usage: given(z.boolean()),
      include_obfuscation: given(z.literal(false, 'only false is supported: nothing is added to a stream')),
    }),
  ),
  n: given(z.int().min(1).max(HUB_LIMITS.answersPerRequestMax)),
  user: ignored(shortText, 'callers are told apart by their keys'),
};

/** Of chat and responses: what OpenAI keeps or charges by, and this hub does not. */
export const bookkeepingFields = {
  metadata: ignored(
    z.record(z.string().max(64), z.string().max(512)),
    'it labels stored answers, and none are stored; a response repeats it',
  ),
  store: given(z.literal(false, 'only false is supported: the hub keeps no answer that was given')),
  service_tier: given(z.enum(['auto', 'default'], 'only "auto" and "default" are supported: there is one tier')),
  safety_identifier: ignored(shortText, 'callers are told apart by their keys'),
  prompt_cache_key: given(z.string().max(HUB_LIMITS.labelCharactersMax)).describe(
    'Devices reuse what they computed for earlier prompts of the same key and the same prompt_cache_key only.',
  ),
  prompt_cache_retention: given(
    z.literal('in_memory', 'only "in_memory" is supported: devices keep prompts in memory, while there is room'),
  ),
  prompt_cache_options: refused('devices decide what they keep; use "prompt_cache_key" to say who may share it'),
  moderation: refused('there is no moderation model here'),
};

const jsonSchema = z.record(z.string(), z.unknown());
export const functionName = z.string().regex(/^[A-Za-z0-9_-]{1,64}$/, 'must be 1 to 64 letters, digits, "_" and "-"');

/** What a function says of itself, in chat's `tools[].function` and flat in responses' `tools[]`. */
export const functionFields = {
  name: functionName,
  description: given(z.string()),
  parameters: given(jsonSchema),
  strict: given(z.boolean()),
};
export const functionNamed = z.strictObject({ name: functionName });
export const callArguments = z.string();
export const callId = z.string().min(1).max(64);

/** What a JSON Schema format says, in chat's `json_schema` and flat in responses' `text.format`. */
export const schemaFormFields = {
  name: functionName,
  description: ignored(z.string(), 'the schema alone shapes the answer'),
  schema: given(jsonSchema).describe('Left out: any JSON object.'),
  strict: given(z.boolean()).describe('Answers follow the schema exactly, whatever this says.'),
};

export const formatTypes = 'must be "text", "json_object" or "json_schema"';
export const toolChoices = 'must be "none", "auto", "required", or an object that names a function';
export const textOrParts = 'must be a text or a list of parts';
export const textFormat = z.strictObject({ type: z.literal('text') });
export const jsonFormat = z.strictObject({ type: z.literal('json_object') });

const onlyText = 'only text parts are supported';
export const textPart = z.strictObject({ type: z.literal('text', onlyText), text: z.string() });
export const refusalPart = z.strictObject({ type: z.literal('refusal', onlyText), refusal: z.string() });
