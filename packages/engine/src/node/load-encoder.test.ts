/** Claims about encoders with the real runtime: what a text's vector is, and that nothing beside it changes a bit. */
import { describeEncoder, quantiseMatMul4, readGraph, writeGraph } from '@idlewild/graph';
import type { TestEncoder, TestEncoderShape } from '@idlewild/graph/testing';
import type { EmbedWork } from '@idlewild/protocol';
import { systemClock } from '@idlewild/protocol/node';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { EmbedLoop } from '../core/embed-loop.ts';
import { createEncoder } from '../core/encoder.ts';
import type { EngineModel } from '../core/port.ts';
import { createTokenizer } from '../core/tokenizer.ts';
import { prepareEncoderFolder } from '../testing/index.ts';
import { createNodeEngineHost } from './engine-host.ts';
import { loadEncoder } from './load-encoder.ts';
import { openOrtSession } from './ort-session.ts';

const folder = mkdtempSync(join(tmpdir(), 'idlewild-encoder-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const { signal } = new AbortController();

const shape: TestEncoderShape = { vocab: 900, width: 192, layers: 2, heads: 6, feedForward: 384, context: 256 };
let count = 0;
const prepare = (over: Partial<TestEncoder> = {}): EngineModel =>
  prepareEncoderFolder(join(folder, String(++count)), { shape, seed: 7, pooling: 'mean', ...over });
const open = async (model: EngineModel, threads = 1): Promise<EmbedLoop> =>
  (await loadEncoder(model, { threads, slotsMax: 4 }, systemClock)).embedLoop;
const embed = async (loop: EmbedLoop, inputs: readonly string[], kind: EmbedWork['kind'] = 'embed') =>
  (await loop.embed({ kind, inputs: [...inputs] }, signal)).vectors;

const WORDS = 'thou art more lovely and temperate rough winds do shake the darling buds of may'.split(' ');
/** Of few lengths, so that many can be run together, and some long ones. */
const TEXTS = Array.from({ length: 60 }, (_, i) => {
  // 129 tokens: a block of rows and one row more.
  if (i === 33) return 'a '.repeat(127);
  const words = i % 10 === 9 ? 12 + (i >> 1) : 1 + (i % 5);
  return Array.from({ length: words }, (__, j) => WORDS[(i * 7 + j * 3) % WORDS.length]).join(' ');
});

/** What the graph itself computes of a text. */
async function rowsOf(model: EngineModel, text: string): Promise<number[][]> {
  const read = (file: string): Uint8Array => new Uint8Array(readFileSync(join(model.folder, file)));
  const json = (file: string): object => JSON.parse(new TextDecoder().decode(read(file))) as object;
  const graph = readGraph(read('model.onnx'));
  const session = await openOrtSession(writeGraph(graph), { threads: 1, sideFolder: model.folder });
  const tokenizer = createTokenizer(json('tokenizer.json'), json('tokenizer_config.json'));
  const ids = tokenizer.encode(text, { whole: true, tokensMax: 256 });
  const [values = new Float32Array()] = await createEncoder(session, describeEncoder(graph), graph).run([ids]);
  await session.close();
  return ids.map((_, i) => [...values.slice(i * shape.width, (i + 1) * shape.width)]);
}

test.each(['mean', 'cls', 'max', 'lasttoken'] as const)(
  'a vector is what plain arithmetic makes of the rows of a text: %s, with and without normalisation',
  async (pooling) => {
    const text = 'Shall I compare thee to a summer day?';
    const plain = prepare({ pooling, normalize: false });
    const rows = await rowsOf(plain, text.toLowerCase());
    expect(rows.length).toBeGreaterThan(10);
    const column = (i: number): number[] => rows.map((row) => row[i] as number);
    const reference = rows[0]?.map((_, i) => {
      const values = column(i);
      if (pooling === 'mean') return values.reduce((sum, value) => sum + value, 0) / values.length;
      return pooling === 'max' ? Math.max(...values) : (values.at(pooling === 'cls' ? 0 : -1) ?? 0);
    }) as number[];
    const [vector = new Float32Array()] = await embed(await open(plain), [text]);
    expect([...vector]).toEqual(reference.map(Math.fround));
    const [normal = new Float32Array()] = await embed(await open(prepare({ pooling })), [text]);
    const length = Math.sqrt(reference.reduce((sum, value) => sum + value * value, 0));
    for (const [i, value] of normal.entries()) expect(value).toBeCloseTo((reference[i] as number) / length, 6);
  },
);

test.each<[string, Partial<TestEncoder>]>([
  ['f32', {}],
  ['f16', { shape: { ...shape, bits: 16 } }],
  ['4 bits', { transform: (graph) => quantiseMatMul4(graph) }],
  ['4 bits, int8 arithmetic', { transform: (graph) => quantiseMatMul4(graph, { accuracyLevel: 4 }) }],
  ['pooled in the graph', { shape: { ...shape, pooled: true } }],
  ['without token types', { shape: { ...shape, tokenTypes: false } }],
  ['a classifier of 4 bits', { shape: { ...shape, labels: 3 }, transform: (graph) => quantiseMatMul4(graph) }],
])(
  'a text gives the same bits alone and among others, first and later, on one thread and more: %s',
  async (_, over) => {
    const model = prepare(over);
    const kind = over.shape?.labels === undefined ? 'embed' : 'classify';
    const alone: Float32Array[] = [];
    const quiet = await open(model);
    for (const text of TEXTS) alone.push(...(await embed(quiet, [text], kind)));
    expect(new Set(alone.map((vector) => vector.join())).size).toBeGreaterThan(20);
    for (const threads of [1, 3]) {
      const busy = await open(model, threads);
      for (let round = 0; round < 2; round++) {
        const halves = [TEXTS.slice(0, 30), TEXTS.slice(30), TEXTS.toReversed()];
        const [first = [], second = [], backwards = []] = await Promise.all(
          halves.map((texts) => embed(busy, texts, kind)),
        );
        expect([...first, ...second]).toEqual(alone);
        expect(backwards.toReversed()).toEqual(alone);
      }
    }
  },
);

test('a text longer than the model reads is refused, at the bound it is not', async () => {
  const loop = await open(prepare({ tokensMax: 8 }));
  expect(await embed(loop, ['a b c d e f'])).toHaveLength(1);
  await expect(embed(loop, ['a', 'a b c d e f g'])).rejects.toMatchObject({
    code: 'context_length_exceeded',
    message: 'the text is 9 tokens; this model reads 8 at most',
    details: { input: 1 },
  });
  expect(await embed(loop, [' '.repeat(150)])).toHaveLength(1);
});

test("the lender's tokens per second hold for texts, and are what the hub is told", async () => {
  const model = prepare();
  const limits = { threads: 1, slotsMax: 2, tokensPerSecondMax: 100 };
  const { embedLoop } = await loadEncoder(model, limits, systemClock);
  const fromMs = performance.now();
  const { tokens } = await embedLoop.embed({ kind: 'embed', inputs: WORDS.slice(0, 6) }, signal);
  const before = tokens.slice(0, -1).reduce((sum, each) => sum + each, 0);
  expect(before).toBeGreaterThan(10);
  expect(performance.now() - fromMs).toBeGreaterThanOrEqual(before * 5);
  const engine = await createNodeEngineHost().load(model, limits, signal);
  expect(engine.prefillTokensPerSecond).toBe(100);
  await engine.close();
});

test('an engine process gives vectors and labels, makes no text, and fails what is open when killed', async () => {
  const pids: number[] = [];
  const log = (message: string): void => {
    const pid = /in process (\d+)/.exec(message)?.[1];
    if (pid !== undefined) pids.push(Number(pid));
  };
  const host = createNodeEngineHost({ log });
  const model = prepare({ shape: { ...shape, labels: 3 } });
  const engine = await host.load(model, { threads: 1, slotsMax: 2 }, signal);
  expect(engine).toMatchObject({ tokensPerSecond: 0 });
  expect(engine.prefillTokensPerSecond).toBeGreaterThan(100);
  const embedIn = (inputs: readonly string[], until = signal) =>
    (engine.embed as NonNullable<typeof engine.embed>)({ kind: 'classify', inputs: [...inputs] }, until);
  const { vectors, tokens } = await embedIn(TEXTS.slice(0, 5));
  expect(vectors).toEqual(await embed(await open(model), TEXTS.slice(0, 5), 'classify'));
  expect(tokens[0]).toBeGreaterThan(2);
  await expect(embedIn(['a', 'b '.repeat(300)])).rejects.toMatchObject({ details: { input: 1 } });
  const failed = await new Promise((resolve) => {
    const text = { kind: 'text', text: 'a' } as const;
    engine.answer({ prompt: text, sampling: { seed: 1 }, choice: 0, stop: [], tokens: [] }, resolve);
  });
  expect(failed).toMatchObject({ t: 'failed', code: 'model_unsupported' });
  const abort = new AbortController();
  const cancelled = embedIn(TEXTS, abort.signal);
  abort.abort();
  await expect(cancelled).rejects.toMatchObject({ code: 'cancelled' });
  const lost = embedIn(TEXTS);
  process.kill(pids[0] as number, 'SIGKILL');
  await expect(lost).rejects.toMatchObject({ code: 'engine_failed' });
  await engine.close();
});
