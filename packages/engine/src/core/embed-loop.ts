/**
 * Texts in turn: callers' works are served round and round, a few short texts at a time.
 *
 * A text gives the bits that it gives alone, whatever runs beside it. Short texts of one length are run together, for
 * that is up to four times as fast, but a shape of run (so many texts, so long) is only used once it has been seen here
 * to give each of its texts the bits that it gives alone; the first shape that does not ends running together for this
 * model, since its kernels then look at what is beside a row. A run cannot be cut, so a long text of a large model
 * takes longer than `LIMITS.runMsMax`. The tokens of texts are paced as those of answers are: a run may go over the
 * lender's tokens per second, and the next one waits until that is made up for.
 */
import type { EncoderRecipe } from '@idlewild/graph';
import {
  IdlewildError,
  LIMITS as WIRE_LIMITS,
  asIdlewildError,
  codeOf,
  messageOf,
  type Clock,
  type EmbedWork,
} from '@idlewild/protocol';
import type { Duty } from './duty.ts';
import type { Encoder } from './encoder.ts';
import { LIMITS } from './limits.ts';
import { createPace } from './pace.ts';
import type { Embedded } from './port.ts';
import type { Tokenizer } from './tokenizer.ts';
import { vectorOf } from './vectors.ts';

/** As measured at loading. */
export interface TextCost {
  /** Milliseconds of the shortest run. */
  readonly fixedMs: number;
  /** What each token adds. */
  readonly tokenMs: number;
}

export interface EmbedLoopOptions {
  readonly encoder: Encoder;
  readonly recipe: EncoderRecipe;
  readonly tokenizer: Tokenizer;
  /** Ids below this. */
  readonly vocabulary?: number | undefined;
  readonly cost: TextCost;
  /** Absent: all the time. */
  readonly duty?: Duty | undefined;
  /** Read, over all texts together; absent is unlimited. */
  readonly tokensPerSecondMax?: number | undefined;
  readonly clock: Clock;
}

export interface EmbedLoop {
  /** As `Engine.embed` of the port. */
  embed(work: EmbedWork, signal: AbortSignal): Promise<Embedded>;
}

interface Text {
  readonly of: Work;
  readonly index: number;
  readonly ids: readonly number[];
}

interface Work {
  readonly vectors: (Float32Array | undefined)[];
  readonly tokens: number[];
  /** Texts that are not run yet. */
  readonly left: Text[];
  missing: number;
  over: boolean;
  resolve(done: Embedded): void;
  reject(error: IdlewildError): void;
}

export function createEmbedLoop(options: EmbedLoopOptions): EmbedLoop {
  const { encoder, recipe } = options;
  /** In turn. */
  const works: Work[] = [];
  const trusted = new Set<string>();
  const fitting = createFitting(options.cost);
  const pace = createPace(options.tokensPerSecondMax, options.clock);
  let isTogether = true;
  let running = false;

  /** The next texts: the first that is due, and others of its length, also of other works. */
  function take(): Text[] {
    const turn = works.shift() as Work;
    works.push(turn);
    const first = turn.left.shift() as Text;
    const same = [turn, ...works.filter((work) => work !== turn)].flatMap((work) =>
      work.left.filter((text) => text.ids.length === first.ids.length),
    );
    const count = isTogether ? fitting(first.ids.length, same.length + 1) : 1;
    const texts = [first, ...same.slice(0, count - 1)];
    for (const { of, ...text } of texts.slice(1))
      of.left.splice(
        of.left.findIndex((each) => each.index === text.index),
        1,
      );
    return texts;
  }

  async function compute(texts: readonly Text[]): Promise<Float32Array[]> {
    const ids = texts.map((text) => text.ids);
    const shape = `${ids.length}×${ids[0]?.length ?? 0}`;
    if (ids.length === 1 || trusted.has(shape)) return encoder.run(ids);
    const alone: Float32Array[] = [];
    for (const one of ids) alone.push(...(await encoder.run([one])));
    const together = await encoder.run(ids);
    if (alone.every((values, i) => sameBits(values, together[i] as Float32Array))) trusted.add(shape);
    else isTogether = false;
    return alone;
  }

  async function step(): Promise<void> {
    const texts = take();
    pace.count(texts.reduce((sum, { ids }) => sum + ids.length, 0));
    try {
      const outputs = await compute(texts);
      for (const [i, { of, index, ids }] of texts.entries()) {
        const vector = vectorOf(outputs[i] as Float32Array, ids.length, recipe);
        if (!vector.every(Number.isFinite)) {
          end(of, () => of.reject(noNumbers(index)));
          continue;
        }
        of.vectors[index] = vector;
        of.missing--;
        if (of.missing === 0) end(of, () => of.resolve({ vectors: of.vectors as Float32Array[], tokens: of.tokens }));
      }
    } catch (thrown) {
      const error = asEngineError(thrown);
      for (const { of } of texts) end(of, () => of.reject(error));
    }
  }

  async function run(): Promise<void> {
    for (;;) {
      for (let i = works.length - 1; i >= 0; i--)
        if (works[i]?.over !== false || works[i]?.left.length === 0) works.splice(i, 1);
      if (works.length === 0) break;
      const paceMs = pace.waitMs();
      if (paceMs > 0) {
        // Whoever waits may be gone by then, and others may have come.
        await new Promise<void>((resolve) => void options.clock.after(paceMs, resolve));
        continue;
      }
      const fromMs = options.clock.monotonic();
      await step();
      const rest = options.duty?.rest(fromMs);
      if (rest !== undefined) await rest;
    }
    running = false;
  }

  return {
    async embed(work, signal) {
      checkWork(work, recipe);
      const ids = await encodeAll(work.inputs, signal, options);
      return new Promise<Embedded>((resolve, reject) => {
        const tokens = ids.map((text) => text.length);
        const made: Work = { vectors: [], tokens, left: [], missing: ids.length, over: false, resolve, reject };
        made.left.push(...ids.map((text, index) => ({ of: made, index, ids: text })));
        const cancel = (): void => end(made, () => reject(cancelled()));
        signal.addEventListener('abort', cancel, { once: true });
        if (signal.aborted) return cancel();
        works.push(made);
        if (running) return;
        running = true;
        void run();
      });
    },
  };
}

function end(work: Work, tell: () => void): void {
  if (work.over) return;
  work.over = true;
  work.left.length = 0;
  tell();
}

/** Another device would say the same: weights of 16 bits overflow everywhere. */
const noNumbers = (input: number): IdlewildError =>
  new IdlewildError('model_unsupported', 'what this model makes of the text is not finite', { details: { input } });

const cancelled = (): IdlewildError => new IdlewildError('cancelled', 'the texts are no longer wanted');

function asEngineError(thrown: unknown): IdlewildError {
  if (codeOf(thrown) !== undefined) return asIdlewildError(thrown, 'running the model');
  const message = messageOf(thrown).slice(0, LIMITS.messageCharactersMax);
  return new IdlewildError('engine_failed', `running the model: ${message}`, { cause: thrown });
}

/** How many of `available` texts so long make a run that is not too long: a power of two, so that shapes are few. */
function createFitting({ fixedMs, tokenMs }: TextCost): (length: number, available: number) => number {
  const roomMs = Math.max(LIMITS.runMsAim, LIMITS.chunkStepsAlone * fixedMs) - fixedMs;
  const tokensMax = Math.min(LIMITS.textTokensAtOnceMax, roomMs / Math.max(tokenMs, Number.EPSILON));
  return (length, available) => {
    const most = Math.min(available, LIMITS.textsAtOnceMax, tokensMax / length);
    // A text of one token takes kernels of its own.
    return most < 2 || length < LIMITS.rowsMin ? 1 : 2 ** Math.floor(Math.log2(most));
  };
}

function sameBits(left: Float32Array, right: Float32Array): boolean {
  const [a, b] = [left, right].map((values) => new Uint32Array(values.buffer, values.byteOffset, values.length));
  return left.length === right.length && (a as Uint32Array).every((bits, i) => bits === (b as Uint32Array)[i]);
}

function checkWork({ kind, inputs }: EmbedWork, { labels, dimensions }: EncoderRecipe): void {
  if ((kind === 'classify') !== (labels !== undefined)) {
    const made = labels === undefined ? 'vectors and has no labels' : 'labels and no vectors';
    throw new IdlewildError('model_unsupported', `this model gives ${made}`);
  }
  const bytes = inputs.length * dimensions * Float32Array.BYTES_PER_ELEMENT;
  if (bytes <= WIRE_LIMITS.embedVectorBytesMax) return;
  const most = Math.floor(WIRE_LIMITS.embedVectorBytesMax / dimensions / Float32Array.BYTES_PER_ELEMENT);
  throw new IdlewildError(
    'invalid_request',
    `of this model ${most} texts at once can be answered, not ${inputs.length}`,
  );
}

/** Reading text takes time, too: others' runs begin in between. */
async function encodeAll(
  inputs: readonly string[],
  signal: AbortSignal,
  options: EmbedLoopOptions,
): Promise<(readonly number[])[]> {
  const { clock } = options;
  const encoded: (readonly number[])[] = [];
  let sinceMs = clock.monotonic();
  for (const [index, input] of inputs.entries()) {
    encoded.push(encodeText(input, index, options));
    if (clock.monotonic() - sinceMs < LIMITS.runMsAim) continue;
    await new Promise<void>((resolve) => void clock.after(0, resolve));
    if (signal.aborted) throw cancelled();
    sinceMs = clock.monotonic();
  }
  return encoded;
}

/** Texts are refused by more than this many times their bound before they are looked at: much of one may be spaces. */
const SLACK = 4;

function encodeText(input: string, index: number, { recipe, tokenizer, vocabulary }: EmbedLoopOptions): number[] {
  const { tokensMax, prompt, lowerCase } = recipe;
  const tooLong = (tokens: string): IdlewildError =>
    new IdlewildError(
      'context_length_exceeded',
      `the text is ${tokens} tokens; this model reads ${tokensMax} at most`,
      { details: { input: index } },
    );
  const text = prompt + (lowerCase ? input.toLowerCase() : input);
  let ids: number[];
  try {
    ids = tokenizer.encode(text, { whole: true, tokensMax: tokensMax * SLACK });
  } catch (thrown) {
    if (codeOf(thrown) === 'context_length_exceeded') throw tooLong('far more');
    throw thrown;
  }
  if (ids.length > tokensMax) throw tooLong(String(ids.length));
  const wrong = vocabulary === undefined ? undefined : ids.find((id) => id >= vocabulary);
  if (wrong !== undefined)
    throw new IdlewildError('model_invalid', `tokenizer.json gives the id ${wrong}; the graph has ${vocabulary ?? 0}`);
  if (ids.length > 0) return ids;
  throw new IdlewildError('invalid_request', 'the text is empty, and this model reads nothing of an empty text', {
    details: { input: index },
  });
}
