/** The hostile corpus against the checker, and broken checkers against the corpus. */
import { codeOf } from '@idlewild/protocol';
import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { expect, test } from 'vitest';

import { checkGraph } from './check.ts';
import type { Graph } from './graph.ts';
import { quantiseMatMul4 } from './quantise.ts';
import { readGraph } from './read.ts';
import { buildExport } from './testing/build-export.ts';
import { buildGenai } from './testing/build-genai.ts';
import { halfGraph } from './testing/half-graph.ts';
import { harmlessGraph } from './testing/hostile/base.ts';
import { hostileGraphs } from './testing/hostile/corpus.ts';
import { packedGraph, wideGraph } from './testing/hostile/nodes.ts';
import { writeGraph } from './write.ts';

type Check = typeof checkGraph;

const corpus = hostileGraphs();

/** How it ends with this checker: code and message. */
function verdict(check: Check, bytes: Uint8Array, files: ReadonlyMap<string, number>): [code: string, says: string] {
  try {
    check(readGraph(bytes), { files });
    return ['passed', ''];
  } catch (error) {
    return [codeOf(error) ?? 'not ours', (error as Error).message];
  }
}

test('every hostile graph is refused, for what it is', () => {
  expect(new Set(corpus.map(({ name }) => name)).size).toBe(corpus.length);
  for (const { name, bytes, files, code, says } of corpus) {
    const [seen, message] = verdict(checkGraph, bytes, files);
    expect([name, seen]).toEqual([name, code]);
    expect(`${name}: ${message}`).toMatch(says);
  }
});

test('what the hostile ones were made from passes, and so do the styles of exporters', () => {
  const shape = { vocab: 300, width: 64, layers: 2, heads: 4, kvHeads: 4, feedForward: 96, context: 160 };
  const good: Graph[] = [
    harmlessGraph(),
    packedGraph(),
    wideGraph(),
    buildExport(shape, {}, 1),
    buildExport(shape, { family: 'gpt2', positions: 'past' }, 2),
    quantiseMatMul4(buildExport(shape, { slope: 0.1 }, 2), { block: 32, symmetric: false }),
    halfGraph(quantiseMatMul4(buildGenai(shape, {}, 2), { block: 32, symmetric: true })),
  ];
  expect(good.map((graph) => verdict(checkGraph, writeGraph(graph), new Map())[1])).toEqual(good.map(() => ''));
});

const FILES = ['check.ts', 'check-fields.ts', 'check-growth.ts', 'check-nodes.ts', 'check-tensors.ts'] as const;
/** Where a checker says no: taken out, one at a time, they make checkers that are each blind to one thing. */
const REFUSALS = /throw refused\(|return (?=(found|inNode|inTensor|inValue);)|return (?=`\$\{holder\})/g;

const source = (file: string): string => readFileSync(new URL(file, import.meta.url), 'utf8');
const asModule = (text: string): string =>
  `data:text/javascript;base64,${Buffer.from(stripTypeScriptTypes(text)).toString('base64')}`;

/** A module's text that can be imported from anywhere; `instead`: modules that stand in for those beside it. */
function standalone(text: string, instead: ReadonlyMap<string, string>): string {
  return text.replaceAll(/ from '([^']+)'/g, (_, name: string) => {
    const path = name.startsWith('./') ? new URL(name, import.meta.url).href : import.meta.resolve(name);
    return ` from '${instead.get(name) ?? path}'`;
  });
}

async function blindChecker(file: string, at: number, word: string): Promise<Check> {
  const text = source(file);
  const blind = `${text.slice(0, at)}${word.replace(/throw|return/, 'void')}${text.slice(at + word.length)}`;
  const module = asModule(standalone(blind, new Map()));
  const entry =
    file === 'check.ts' ? module : asModule(standalone(source('check.ts'), new Map([[`./${file}`, module]])));
  return ((await import(/* @vite-ignore */ entry)) as { checkGraph: Check }).checkGraph;
}

test.each(FILES)('a checker that lost one of the refusals of %s is noticed', async (file) => {
  const unnoticed: string[] = [];
  const graphs = corpus.filter(({ code }) => code === 'model_refused');
  const refusals = [...source(file).matchAll(REFUSALS)];
  expect(refusals.length).toBeGreaterThan(0);
  for (const { index, 0: word } of refusals) {
    const check = await blindChecker(file, index, word);
    const same = graphs.every(({ bytes, files, says }) => says.test(verdict(check, bytes, files)[1]));
    const line = source(file).slice(0, index).split('\n').length;
    if (same) unnoticed.push(`${file}:${line} ${source(file).split('\n')[line - 1]?.trim()}`);
  }
  expect(unnoticed).toEqual([]);
});
