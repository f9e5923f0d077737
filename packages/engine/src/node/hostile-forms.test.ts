/** Forms made to stop an engine, with the library that it uses: refused, or followed within memory and time. */
import { modelFolderTexts } from '@idlewild/graph/testing';
import { createSeededRandom } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createGuides, type Guides } from '../core/guides.ts';
import { LIMITS } from '../core/limits.ts';
import { readSettings } from '../core/settings.ts';
import { work } from '../testing/index.ts';
import { createXGrammarLibrary } from './xgrammar.ts';

const files = modelFolderTexts({ vocab: 300, width: 8, layers: 1, heads: 1, kvHeads: 1, feedForward: 8 });
const settings = readSettings({
  tokenizer: files['tokenizer.json'],
  tokenizerConfig: files['tokenizer_config.json'],
  generationConfig: files['generation_config.json'],
});
const { tokenizer, endIds } = settings;

/** What a model without any preference writes in `budget` tokens; it rather goes on than closes a string. */
async function textOf(guides: Guides, schema: unknown, budget: number): Promise<string> {
  const asked = work({ form: { kind: 'schema', schema: JSON.stringify(schema) } });
  const { guide } = await (guides.prepare(asked) as NonNullable<ReturnType<Guides['prepare']>>);
  const random = createSeededRandom(7);
  const draw = (allowed?: Int32Array): number => {
    const fit = Array.from({ length: tokenizer.size }, (_, id) => id).filter(
      (id) => allowed === undefined || ((allowed[id >>> 5] as number) >>> (id & 31)) & 1,
    );
    const open = fit.filter((id) => !endIds.has(id) && tokenizer.decode([id]) !== '"');
    const from = open.length > 0 ? open : fit;
    return from[Math.floor(random.unit() * from.length)] as number;
  };
  const ids: number[] = [];
  while (ids.length < budget && !guide.isOver) {
    const id = guide.choose(draw, budget - ids.length - 1);
    guide.take(id);
    if (endIds.has(id)) break;
    ids.push(id);
  }
  guide.close();
  return tokenizer.decode(ids);
}

const nested = (depth: number, around: (inner: object) => object): object =>
  Array.from({ length: depth }).reduce<object>(around, { type: 'null' });
const pattern = (of: string): object => ({ type: 'string', pattern: of });

test('forms that can be read in very many ways are followed to their end', async () => {
  const guides = createGuides(settings, createXGrammarLibrary());
  for (const schema of [
    pattern('^(\\S+ ?)+$'),
    pattern('^(([a-z]+)+)+[0-9]$'),
    pattern('(.*a.*b.*){1,20}(.*c.*){1,20}(x|.x|..x|...x){1,30}$'),
    pattern('^((a{1,128}b?){1,128}c?){1,128}$'),
    { anyOf: Array.from({ length: 300 }, (_, minLength) => ({ type: 'string', minLength })) },
    nested(30, (items) => ({ type: 'array', items })),
    nested(30, (items) => ({ type: 'array', items, minItems: 1 })),
    nested(30, (additionalProperties) => ({ type: 'object', additionalProperties })),
    { anyOf: [{ type: 'null' }, nested(3, (items) => ({ type: 'array', items, minItems: 1_000 }))] },
    { type: 'object', properties: Object.fromEntries(Array.from({ length: 700 }, (_, i) => [`p${i}`, true])) },
  ]) {
    const text = await textOf(guides, schema, 150);
    expect(() => JSON.parse(text) as unknown, `${JSON.stringify(schema).slice(0, 80)}: ${text}`).not.toThrow();
  }
});

test('forms of which even the shortest text is endless are refused, and the next one is followed', async () => {
  const guides = createGuides(settings, createXGrammarLibrary());
  for (const [schema, named] of [
    [nested(3, (items) => ({ type: 'array', items, minItems: 1_000 })), '16384 bytes'],
    [nested(20, (items) => ({ type: 'array', items, minItems: 1_000 })), '16384 bytes'],
    [pattern('^(((a{32}){32}){32}){32}$'), '16384 bytes'],
    [pattern('a|bc'.repeat(7_000)), 'supported'],
    [{ $ref: '#/%E0%A4%A' }, 'malformed'],
  ] as const)
    await expect(textOf(guides, schema, 10), JSON.stringify(schema).slice(0, 80)).rejects.toMatchObject({
      code: 'invalid_request',
      message: expect.stringContaining(named) as string,
    });
  expect(JSON.parse(await textOf(guides, { enum: ['here'] }, 20))).toBe('here');
});

test('more forms at once than are kept ready are all followed', async () => {
  const guides = createGuides(settings, createXGrammarLibrary());
  const names = Array.from({ length: 3 * LIMITS.grammarsKeptMax }, (_, i) => `number ${i}`);
  const texts = await Promise.all(names.map((name) => textOf(guides, { enum: [name] }, 40)));
  expect(texts.map((text) => JSON.parse(text) as unknown)).toEqual(names);
});
