/**
 * The claim that failover stands on: with the real runtime, an answer taken over after any token goes on as if nothing
 * had happened.
 */
import { describeDecoder, quantiseMatMul4, readGraph, type Graph } from '@idlewild/graph';
import type { AnswerWork } from '@idlewild/protocol';
import { systemClock } from '@idlewild/protocol/node';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { createDecodeLoop, type DecodeLoop } from '../core/decode-loop.ts';
import type { EngineEvent } from '../core/port.ts';
import { readSettings } from '../core/settings.ts';
import { collect, prepareModelFolder, textOf, tokensOf, work } from '../testing/index.ts';
import { openDecoder } from './open-decoder.ts';

const folder = mkdtempSync(join(tmpdir(), 'idlewild-exactness-'));
const closing: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })];
afterAll(async () => {
  for (const close of closing.toReversed()) await close();
});

async function openLoop(name: string, transform: (graph: Graph) => Graph, threads: number): Promise<DecodeLoop> {
  const model = prepareModelFolder({ folder: join(folder, name), from: 'jacobean', transform });
  const graph = readGraph(new Uint8Array(readFileSync(join(model.folder, model.graph))));
  const text = (file: string): string => readFileSync(join(model.folder, file), 'utf8');
  const settings = readSettings({
    tokenizer: text('tokenizer.json'),
    tokenizerConfig: text('tokenizer_config.json'),
    config: text('config.json'),
    generationConfig: text('generation_config.json'),
  });
  const { decoder, exact, drafts } = await openDecoder(graph, {
    shape: describeDecoder(graph),
    contextTokens: model.contextTokens,
    cacheBytesMax: 100_000_000,
    threads,
    attentionHeads: settings.attentionHeads,
    sideFolder: model.folder,
  });
  closing.push(() => decoder.close());
  expect({ exact, drafts }).toEqual({ exact: true, drafts: true });
  return createDecodeLoop({ decoder, settings, contextTokens: model.contextTokens, slotsMax: 3, clock: systemClock });
}

const PROMPTS: Partial<AnswerWork>[] = [
  {
    prompt: { kind: 'chat', messages: [{ role: 'user', content: 'What news from Rome?' }] },
    tokensMax: 90,
    stop: ['\n\n'],
  },
  { prompt: { kind: 'text', text: 'O' }, tokensMax: 60 },
  {
    prompt: { kind: 'text', text: 'In the beginning God created the heaven and the earth. '.repeat(12) },
    tokensMax: 60,
    sampling: { seed: 9, temperature: 1.3, topP: 1 },
  },
];

test.for([
  ['f32', (graph: Graph): Graph => graph, 1],
  ['f32 on two threads', (graph: Graph): Graph => graph, 2],
  ['4-bit', (graph: Graph): Graph => quantiseMatMul4(graph, { block: 32, accuracyLevel: 4 }), 1],
] as const)(
  '%s: an answer resumed after any token goes on with the same tokens and the same text',
  { timeout: 120_000 },
  async ([name, transform, threads]) => {
    const loop = await openLoop(name, transform, threads);
    for (const over of PROMPTS) {
      const whole = collect(loop, work(over));
      await whole.over;
      const tokens = tokensOf(whole.events);
      expect(tokens.length).toBeGreaterThan(3);
      for (let k = 0; k <= tokens.length; k += 5) {
        const rest = collect(loop, work({ ...over, tokens: tokens.slice(0, k) }));
        // Others in between must change nothing either.
        const other = collect(loop, work({ sampling: { seed: k }, tokensMax: 8 }));
        expect(await rest.over).toMatchObject({ t: 'finished', answerTokens: tokens.length });
        expect(rest.events.filter((event) => event.t === 'token')).toEqual(
          whole.events.filter((event) => event.t === 'token').slice(k),
        );
        await other.over;
      }
      expect(textOf(whole.events).length).toBeGreaterThan(3);
    }
  },
);

test(
  'the number of threads changes no token: devices with and without cores to spare are of one class',
  { timeout: 120_000 },
  async () => {
    const loops = await Promise.all(
      [1, 2, 4].map((threads) => openLoop(`threads-${threads}`, (graph) => graph, threads)),
    );
    for (const over of PROMPTS) {
      const asked = loops.map((loop) => collect(loop, work(over)));
      await Promise.all(asked.map((one) => one.over));
      expect(new Set(asked.map(({ events }) => tokensOf(events).join(' '))).size).toBe(1);
    }
  },
);

test.for([
  ['f32', (graph: Graph): Graph => graph, 1],
  ['4-bit on two threads', (graph: Graph): Graph => quantiseMatMul4(graph, { block: 32, accuracyLevel: 4 }), 2],
] as const)(
  '%s: an answer by a draft, right or wrong in places, is the answer, and beside others',
  { timeout: 120_000 },
  async ([name, transform, threads]) => {
    const loop = await openLoop(`draft-${name}`, transform, threads);
    for (const over of PROMPTS) {
      const whole = collect(loop, work(over));
      await whole.over;
      const tokens = tokensOf(whole.events);
      for (const gap of [1_000, 19, 6]) {
        const draft = tokens.map((id, i) => (i % gap === 4 ? (tokens[i + 1] ?? 5) : id));
        const drafted = collect(loop, work({ ...over, draft }));
        const other = collect(loop, work({ sampling: { seed: gap }, tokensMax: 40 }));
        expect(await drafted.over).toMatchObject({ t: 'finished', answerTokens: tokens.length });
        const said = (events: readonly EngineEvent[]): unknown[] => events.filter((event) => event.t === 'token');
        expect(said(drafted.events)).toEqual(said(whole.events));
        await other.over;
      }
    }
  },
);
