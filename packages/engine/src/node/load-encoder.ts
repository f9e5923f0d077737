/**
 * From an encoder's or a classifier's folder to a running loop of texts: what an engine process does when it is told to
 * load one. The graph is checked before the runtime's native code sees it; speed is measured with the model itself.
 */
import { ENCODER_TEXTS, describeEncoder, readEncoderRecipe, writeGraph, type EncoderTexts } from '@idlewild/graph';
import { IdlewildError, type Clock } from '@idlewild/protocol';
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { createDuty, type Duty } from '../core/duty.ts';
import { createEmbedLoop, type EmbedLoop, type TextCost } from '../core/embed-loop.ts';
import { createEncoder, type Encoder } from '../core/encoder.ts';
import { LIMITS } from '../core/limits.ts';
import type { EngineLimits, EngineModel } from '../core/port.ts';
import { MODEL_TEXT_FILES } from '../core/settings.ts';
import { createTokenizer } from '../core/tokenizer.ts';
import type { Loaded } from './frames.ts';
import { ENGINE_BUILD, fingerprintOf, readCheckedGraph } from './load.ts';
import { openOrtSession } from './ort-session.ts';

const MEASURE = { tokens: 64, runsMax: 8, budgetMs: 250 } as const;
const TEXTS = [MODEL_TEXT_FILES.config, MODEL_TEXT_FILES.tokenizer, MODEL_TEXT_FILES.tokenizerConfig, ...ENCODER_TEXTS];
/** Of a configuration that does not say; the usual number. */
const HEADS = 12;
/** Scores, and what comes of them. */
const SCORES_KEPT = 2;

/** Throws `model_invalid`, `model_refused` or `model_unsupported`. */
export async function loadEncoder(
  model: EngineModel,
  limits: EngineLimits,
  clock: Clock,
): Promise<{ embedLoop: EmbedLoop; duty: Duty; loaded: Loaded }> {
  const before = process.memoryUsage.rss();
  const graph = readCheckedGraph(model);
  const texts = readTexts(model);
  const config = readJson(texts, MODEL_TEXT_FILES.config);
  const shape = describeEncoder(graph, config);
  const stated = readEncoderRecipe(shape, config, texts);
  const heads = countOf(config['num_attention_heads'] ?? config['n_heads'] ?? config['n_head']) ?? HEADS;
  const tokensMax = Math.min(stated.tokensMax, model.contextTokens, tokensOfScores(heads));
  const session = await openOrtSession(writeGraph(graph), {
    threads: Math.min(limits.threads, heads),
    sideFolder: dirname(join(model.folder, model.graph)),
  });
  const tokenizerConfig = readJson(texts, MODEL_TEXT_FILES.tokenizerConfig);
  const tokenizer = createTokenizer(readJson(texts, MODEL_TEXT_FILES.tokenizer), tokenizerConfig);
  const encoder = createEncoder(session, shape, graph);
  const recipe = { ...stated, tokensMax };
  const { cost, tokensPerSecond } = await measure(encoder, tokensMax, clock);
  const vocabulary = countOf(config['vocab_size']);
  const duty = createDuty(clock, limits.dutyShare);
  const { tokensPerSecondMax } = limits;
  const embedLoop = createEmbedLoop({ encoder, recipe, tokenizer, vocabulary, cost, duty, tokensPerSecondMax, clock });
  const grown = Math.max(0, process.memoryUsage.rss() - before);
  const loaded: Loaded = {
    engineBuild: ENGINE_BUILD,
    provider: 'cpu',
    fingerprint: await fingerprintOf('cpu'),
    memoryBytes: grown + SCORES_KEPT * scoresBytes(heads, tokensMax),
    tokensPerSecond: 0,
    prefillTokensPerSecond: tokensPerSecond,
  };
  return { embedLoop, duty, loaded };
}

const scoresBytes = (heads: number, tokens: number): number => heads * tokens ** 2 * Float32Array.BYTES_PER_ELEMENT;
const tokensOfScores = (heads: number): number => Math.floor(Math.sqrt(LIMITS.scoresBytesMax / scoresBytes(heads, 1)));

const countOf = (value: unknown): number | undefined =>
  typeof value === 'number' && Number.isSafeInteger(value) && value > 0 ? value : undefined;

/** Only files of the manifest are read, whatever else lies in the folder. */
function readTexts(model: EngineModel): EncoderTexts {
  const texts: Record<string, string> = {};
  for (const file of TEXTS) {
    const path = join(model.folder, file);
    if (Object.hasOwn(model.fileBytes, file) && existsSync(path)) texts[file] = readFileSync(path, 'utf8');
  }
  if (texts[MODEL_TEXT_FILES.tokenizer] !== undefined) return texts;
  throw new IdlewildError('model_invalid', `model ${model.cid} has no ${MODEL_TEXT_FILES.tokenizer}`);
}

function readJson(texts: EncoderTexts, file: string): Readonly<Record<string, unknown>> {
  try {
    const value: unknown = JSON.parse(texts[file] ?? '{}');
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch (cause) {
    throw new IdlewildError('model_invalid', `${file} is not valid JSON: ${(cause as Error).message}`, { cause });
  }
  throw new IdlewildError('model_invalid', `${file} does not hold a JSON object`);
}

/** Of one text at a time. The first run of each length is not counted: it allocates. */
async function measure(
  encoder: Encoder,
  tokensMax: number,
  clock: Clock,
): Promise<{ cost: TextCost; tokensPerSecond: number }> {
  const timed = async (tokens: number): Promise<number> => {
    const ids = Array.from({ length: tokens }, (_, i) => i % 2);
    const ends = clock.monotonic() + MEASURE.budgetMs;
    await encoder.run([ids]);
    let bestMs = Number.POSITIVE_INFINITY;
    for (let run = 0; run < MEASURE.runsMax && (run < 2 || clock.monotonic() < ends); run++) {
      const from = clock.monotonic();
      await encoder.run([ids]);
      bestMs = Math.min(bestMs, clock.monotonic() - from);
    }
    return bestMs;
  };
  const few = Math.min(LIMITS.rowsMin, tokensMax);
  const many = Math.min(MEASURE.tokens, tokensMax);
  const [fixedMs, manyMs] = [await timed(few), await timed(many)];
  const tokenMs = Math.max(0, manyMs - fixedMs) / Math.max(1, many - few);
  return { cost: { fixedMs, tokenMs }, tokensPerSecond: (1_000 * many) / manyMs };
}
