/** XGrammar as we drive it: its masks never leave out a token that fits. */
import { utf8 } from '@idlewild/protocol';
import { createSeededRandom, yieldToNode } from '@idlewild/protocol/testing';
import { expect, test } from 'vitest';
import { createAutomaton } from '../core/grammar/automaton.ts';
import { compile } from '../core/grammar/compile.ts';
import { jsonRules, OBJECT } from '../core/grammar/json.ts';
import { schemaGrammar } from '../core/grammar/schema.ts';
import { createXGrammarLibrary } from './xgrammar.ts';

/** Bytes, and words that cross the borders of rules and of characters. */
const TOKENS: (Uint8Array | undefined)[] = [
  undefined,
  ...Array.from({ length: 256 }, (_, byte) => Uint8Array.of(byte)),
  ...[
    '{"',
    '"}',
    '":',
    '": "',
    '","',
    '\n  "',
    'ab',
    ' a',
    'é',
    '€',
    '刀',
    '刀a',
    '😀',
    '\\u00',
    '\\"',
    '12',
    '-3',
    '.5',
    'true',
    'null',
    ']}',
    '[{',
  ].map(utf8),
  ...[
    [0xe5, 0x88],
    [0x80, 0x61],
    [0xf0, 0x9f],
    [0x98, 0x80, 0x22],
  ].map((bytes) => Uint8Array.from(bytes)),
];
const SCHEMAS: unknown[] = [
  {
    type: 'object',
    properties: { 'é"': { type: 'string', maxLength: 3 }, b: { enum: ['刀', 'x"y', 12] } },
    required: ['b'],
  },
  { type: 'string', pattern: '^\\s?\\S{1,4}$' },
  { type: 'string', pattern: '^[^a-f]+é?(x|刀){2}.*$' },
  { type: 'array', items: { type: 'number', minimum: -2.5, maximum: 12 }, minItems: 1, maxItems: 3 },
  { anyOf: [{ type: 'string', format: 'date' }, { type: 'integer' }, { type: 'array', items: { $ref: '#' } }] },
];

test('every token that fits is in the mask, and the library takes it', async () => {
  const compiler = await createXGrammarLibrary().open(TOKENS);
  const random = createSeededRandom(12);
  const mask = new Int32Array(Math.ceil(TOKENS.length / 32));
  for (const grammar of [
    { root: OBJECT, rules: jsonRules() },
    ...SCHEMAS.map((one) => schemaGrammar(JSON.stringify(one))),
  ]) {
    const compiled = await compiler.compile(grammar);
    const node = compile(grammar);
    for (let round = 0; round < 25; round++) {
      const matcher = await compiled.matcher();
      const automaton = createAutomaton(node);
      let state = automaton.start;
      for (let i = 0; i < 20 && state.ways.length > 0; i++) {
        // In every other round the library has its mask ready, as it has while a model runs.
        if (round % 2 === 1) await yieldToNode();
        matcher.maskInto(mask);
        const fit = [...TOKENS.keys()].filter((id) => TOKENS[id] && automaton.step(state, TOKENS[id]) !== undefined);
        expect(fit.filter((id) => (((mask[id >> 5] as number) >> (id & 31)) & 1) === 0)).toEqual([]);
        const id = fit[Math.floor(random.unit() * fit.length)] as number;
        expect(matcher.accept(id)).toBe(true);
        state = automaton.step(state, TOKENS[id] as Uint8Array) as typeof state;
      }
      matcher.close();
    }
    compiled.close();
  }
});

test('a matcher goes on behind text that is not made of its tokens, and refuses what does not fit', async () => {
  const compiler = await createXGrammarLibrary().open(TOKENS);
  const matcher = await (await compiler.compile(schemaGrammar('{"const":"a刀b"}'))).matcher();
  expect(matcher.acceptText('"a刀')).toBe(true);
  expect(matcher.accept(1 + 'a'.charCodeAt(0))).toBe(false);
  expect(matcher.accept(1 + 'b'.charCodeAt(0))).toBe(true);
  matcher.close();
});
